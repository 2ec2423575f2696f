//! What lies in the outbox: shown, and sent.

use coroner_server::alerts::Alerts;
use coroner_store::{MessageState, OutboxMessage, Store};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::args::Format;
use crate::card::wrap::fit;
use crate::context::{Context, DONE, Failed, REPORTED};
use crate::kept::ago;
use crate::printable::printable;
use crate::quantities::counted;

pub(super) fn list(
    store: Option<&Store>,
    state: Option<MessageState>,
    limit: usize,
    context: &Context,
    runtime: &Runtime,
) -> Result<u8, Failed> {
    let (messages, given_up) = match store {
        None => (Vec::new(), false),
        Some(store) => {
            let messages = runtime.block_on(store.outbox(state, limit.min(1000)))?;
            let given_up = runtime.block_on(store.outbox(Some(MessageState::Failed), 1))?;
            (messages, !given_up.is_empty())
        }
    };
    match context.format {
        Format::Json => context.print_json(&messages.iter().map(shown).collect::<Vec<_>>())?,
        Format::Text if messages.is_empty() => context.note("no messages"),
        Format::Text => {
            let (face, now, zone) = (context.out(), Timestamp::now(), TimeZone::system());
            let lines = messages.iter().map(|it| {
                let when = ago(it.settled_at.unwrap_or(it.created_at), now, &zone);
                let (subject, _) = subject(it);
                let line = format!("{:>5}  {:<8} {:<16} {when:<16} {subject}", it.id, it.state, it.channel);
                let line = fit(&printable(&line, face.unicode), face.width, face.sign("…", "..."));
                let why = it.error.as_ref().map(|why| {
                    let next = match it.state {
                        MessageState::Waiting => {
                            let seconds = (it.due_at.as_second() - now.as_second()).max(0);
                            format!(
                                " (tried {}, again in {} min)",
                                counted(it.attempts.into(), "time", "times"),
                                (seconds + 59) / 60
                            )
                        }
                        _ => String::new(),
                    };
                    format!("       {}\n", printable(&format!("{why}{next}"), face.unicode))
                });
                format!("{line}\n{}", why.unwrap_or_default())
            });
            context.print(&lines.collect::<String>())?;
        }
    }
    Ok(if given_up { REPORTED } else { DONE })
}

fn subject(it: &OutboxMessage) -> (String, Value) {
    let content: Value = serde_json::from_str(&it.content).unwrap_or_default();
    (content["subject"].as_str().unwrap_or_default().to_owned(), content)
}

fn shown(it: &OutboxMessage) -> Value {
    let (subject, content) = subject(it);
    let mut object = json!(it);
    object["subject"] = json!(subject);
    object["message"] = content;
    object
}

/// Looks, and sends until nothing is due any more. Says what could not be sent.
pub(super) async fn deliver(
    alerts: &Alerts,
    store: &Store,
    retry: bool,
) -> Result<Vec<String>, coroner_store::Error> {
    alerts.expect().await?;
    alerts.look(Timestamp::now(), None).await?;
    if retry {
        store.retry_messages(None, Timestamp::now()).await?;
    }
    Ok(alerts.deliver(None).await?.failures)
}
