//! Alerts: tells people and programs what has failed, once and not a hundred times, whoever is running.
//!
//! Every process that shares a store may look and send: what is remembered, what has been looked at and what is to be
//! sent are changed in one step of the store, and a message is one sender's at a time. What the step decides is pure
//! (`memory`).

mod channel;
mod deliver;
mod event;
mod incident;
mod mail;
mod memory;
mod notice;
mod outgoing;
mod rule;
mod slack;
#[cfg(test)]
mod tests;
mod web;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coroner_diagnosis::{Counts, Redactor};
use coroner_store::{AlertStep, ChannelDeliveries, Error, NewMessage, Store};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;

pub use channel::{Channel, MailSettings, Tls};
pub use deliver::Delivered;
pub use rule::Rule;

use event::Event;
use memory::{Memory, Pace};
use notice::Notice;
use outgoing::Outgoing;

/// So many events are looked at in one step.
const STEP: usize = 200;
/// A rate counts no more failures than this.
pub const MOST_OF_A_RATE: usize = memory::WINDOW;
/// How often what is new is looked at, where somebody watches.
const PERIOD: Duration = Duration::from_secs(1);

/// What is told, when, and to whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// To whom.
    pub channels: Vec<Channel>,
    /// Of what.
    pub rules: Vec<Rule>,
    /// After a message of an incident there is no further one for so long; the next pause is twice as long.
    pub quiet: Duration,
    /// An incident is over when nothing has come for so long.
    pub over: Duration,
    /// Failures of one origin that is not the candidate, no further apart than this, are one outage.
    pub outage: Duration,
    /// So many incidents are opened in an hour; what comes beyond is told together.
    pub most_per_hour: usize,
    /// Where people reach the desk: links start with it.
    pub desk: Option<String>,
    /// What must not stand in a message. Those of the channels need not be named.
    pub secrets: Vec<String>,
}

/// Tells what has failed. Cheap to clone.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    names: Vec<String>,
    /// Made when there is something to tell: it takes its time.
    redactor: OnceLock<Redactor>,
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").field("channels", &self.0.names).finish_non_exhaustive()
    }
}

/// Whether a test message arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tested {
    /// The channel.
    pub channel: String,
    /// email, slack, webhook.
    pub kind: String,
    /// Where it goes, as far as that is no secret.
    pub place: String,
    /// Did the receiver take it?
    pub delivered: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Alerts {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        let names = settings.channels.iter().map(|channel| channel.name().to_owned()).collect();
        Self(Arc::new(Inner { store, settings, names, redactor: OnceLock::new() }))
    }

    /// The channels, in the order of the configuration.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.0.settings.channels
    }

    /// From now on what fails is kept to be looked at, whoever records it.
    pub async fn expect(&self) -> Result<(), Error> {
        self.0.store.expect_alerts().await
    }

    /// How deliveries stand, for each channel.
    pub async fn deliveries(&self) -> Result<Vec<ChannelDeliveries>, Error> {
        self.0.store.deliveries(&self.0.names).await
    }

    /// Looks at what has happened and puts what is to be told into the outbox. Says how many messages that were.
    pub async fn look(&self, now: Timestamp) -> Result<usize, Error> {
        let Inner { store, settings, names, .. } = &*self.0;
        let pace = Pace {
            quiet: settings.quiet,
            over: settings.over,
            outage: settings.outage,
            most_per_hour: settings.most_per_hour,
        };
        let mut told = 0;
        loop {
            let Some(round) = store.alert_round(STEP).await? else {
                self.expect().await?;
                return Ok(told);
            };
            // what a later release remembers can't be read: its incidents begin anew
            let before: Memory = serde_json::from_str(&round.memory).unwrap_or_default();
            let events: Vec<Event> = round.events.iter().filter_map(Event::of).collect();
            let mut after = before.clone();
            let looked = after.look(&settings.rules, names, &pace, &events, now.as_millisecond());
            if round.events.is_empty() && looked.notices.is_empty() && after == before {
                return Ok(told);
            }
            let (messages, more) = (looked.notices.len(), round.events.len() == STEP);
            let step = AlertStep {
                version: round.version,
                memory: serde_json::to_string(&after).unwrap_or_default(),
                done: round.events.iter().map(|event| event.id).collect(),
                counted: looked.counted,
                messages: looked.notices.into_iter().map(|it| self.message(it, now)).collect(),
            };
            // another that was quicker has told it: look at what is left
            if store.settle_alerts(step).await? {
                told += messages;
                if !more {
                    return Ok(told);
                }
            }
        }
    }

    fn message(&self, (channel, mut notice): (String, Notice), at: Timestamp) -> NewMessage {
        let redactor = self.redactor();
        let mut counts = Counts::new();
        for text in notice.texts() {
            *text = redactor.redact(text, &mut counts);
        }
        NewMessage {
            delivery: format!("msg_{}_{}", notice.incident, notice.sequence),
            channel,
            incident: notice.incident.clone(),
            content: serde_json::to_string(&notice).unwrap_or_default(),
            at,
        }
    }

    fn redactor(&self) -> &Redactor {
        self.0.redactor.get_or_init(|| {
            let of_channels = self.channels().iter().flat_map(Channel::secrets);
            Redactor::new(self.0.settings.secrets.iter().cloned().chain(of_channels))
        })
    }

    /// Sends what is due, to all channels side by side. With `until`, nothing is begun after it, and what is under way
    /// then is tried again later.
    pub async fn deliver(&self, until: Option<Instant>) -> Result<Delivered, Error> {
        deliver::free_abandoned(&self.0.store).await?;
        let desk = self.0.settings.desk.as_deref();
        let all = self.channels().iter().map(|channel| deliver::due(&self.0.store, channel, desk, until));
        let mut done = Delivered::default();
        for result in futures_util::future::join_all(all).await {
            let one = result?;
            done.sent += one.sent;
            done.failures.extend(one.failures);
        }
        Ok(done)
    }

    /// Looks, and sends what is due, in no more than about this time: what is left waits for whoever comes next.
    pub async fn tell(&self, limit: Duration) -> Result<Delivered, Error> {
        let until = Instant::now() + limit;
        let looked = tokio::time::timeout_at(until, self.look(Timestamp::now())).await;
        match looked {
            Ok(result) => result?,
            Err(_) => return Ok(Delivered::default()),
        };
        self.deliver(Some(until)).await
    }

    /// Looks and sends, again and again, until `ending` says so; what is under way then is ended first. A store that can't
    /// be read or written for a moment is asked again.
    pub async fn watch(&self, ending: watch::Receiver<bool>) {
        let look = async {
            let mut ending = ending.clone();
            while !ended(&mut ending).await {
                _ = self.look(Timestamp::now()).await;
                _ = deliver::free_abandoned(&self.0.store).await;
            }
        };
        let desk = self.0.settings.desk.as_deref();
        // a slow receiver holds up nobody else
        let send = self.channels().iter().map(async |channel| {
            let mut ending = ending.clone();
            while !ended(&mut ending).await {
                _ = deliver::due(&self.0.store, channel, desk, None).await;
            }
        });
        _ = self.expect().await;
        tokio::join!(look, futures_util::future::join_all(send));
    }

    /// Sends a test message to one channel or to all, at once, and keeps what came of it beside the others. Nothing if
    /// there is no such channel.
    pub async fn test(&self, channel: Option<&str>) -> Vec<Tested> {
        let chosen = self.channels().iter().filter(|it| channel.is_none_or(|name| name == it.name()));
        futures_util::future::join_all(chosen.map(|channel| self.test_one(channel))).await
    }

    async fn test_one(&self, channel: &Channel) -> Tested {
        let now = Timestamp::now();
        let unique = crate::auth::new_token().unwrap_or_default();
        let incident: String = unique.chars().rev().take(16).collect();
        let notice = Notice::test(&incident, now.as_millisecond());
        let message = self.message((channel.name().to_owned(), notice.clone()), now);
        let outgoing = Outgoing {
            delivery: &message.delivery,
            channel: channel.name(),
            notice: &notice,
            at: now,
            desk: self.0.settings.desk.as_deref(),
        };
        let limit = Duration::from_secs(20);
        let why = match tokio::time::timeout(limit, channel.send(&outgoing)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in 20 s".to_owned()),
        };
        // a store that can't be written does not change whether it arrived
        _ = self.0.store.keep_message(message, why.as_deref()).await;
        Tested {
            channel: channel.name().to_owned(),
            kind: channel.kind().to_owned(),
            place: channel.place(),
            delivered: why.is_none(),
            why,
        }
    }
}

/// Waits a little; true once there is nothing more to wait for.
async fn ended(ending: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(PERIOD, ending.wait_for(|ending| *ending)).await.is_ok()
}
