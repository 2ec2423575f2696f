//! `coroner alerts`, and alerts for the commands that record failures: channels and rules as they are configured.

mod outbox;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use coroner_server::alerts::{Alerts, Channel, MOST_OF_A_RATE, MailSettings, Rule, Settings, Tested, Tls};
use coroner_store::Store;
use secrecy::SecretString;
use tokio::runtime::Runtime;

use crate::args::{AlertsArgs, AlertsCommand, Format};
use crate::config::alerts as wanted;
use crate::context::{Context, DONE, Failed, complain};
use crate::printable::printable;

/// How long the end of a command may be put off by what it tells.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// One failure that all of them are told of fits into one step of every store.
const CHANNELS: usize = 50;
/// A file that is longer than this holds no password.
const LONGEST_SECRET: u64 = 16 << 10;
/// The network or the store failed.
const OUTSIDE: u8 = 3;

pub(crate) fn command(args: &AlertsArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let open = || runtime.block_on(crate::storage::open(context));
    match &args.command {
        AlertsCommand::Test { channel } => test(channel.as_deref(), context, open()?, &runtime),
        AlertsCommand::List { state, limit } => {
            let store = crate::kept::open(context, &runtime)?;
            outbox::list(store.as_ref(), *state, *limit, context, &runtime)
        }
        AlertsCommand::Deliver { retry } => {
            let store = open()?;
            let alerts = needed(context, store.clone())?;
            crate::run::close_orphans(&store, context, &runtime).iter().for_each(|note| context.note(note));
            let failures = runtime.block_on(outbox::deliver(&alerts, &store, *retry))?;
            failures.iter().for_each(|why| complain(&format!("not delivered yet: {why}")));
            runtime.block_on(store.close())?;
            Ok(if failures.is_empty() { DONE } else { OUTSIDE })
        }
    }
}

fn test(channel: Option<&str>, context: &Context, store: Store, runtime: &Runtime) -> Result<u8, Failed> {
    let alerts = needed(context, store)?;
    let tested = runtime.block_on(alerts.test(channel));
    if let (Some(name), true) = (channel, tested.is_empty()) {
        let known: Vec<&str> = alerts.channels().iter().map(Channel::name).collect();
        return Err(Failed::Input(anyhow!("there is no channel `{name}`; there is {}", known.join(", "))));
    }
    match context.format {
        Format::Json => context.print_json(&tested)?,
        Format::Text => {
            let face = context.out();
            let line = |it: &Tested| {
                let (sign, said) = match &it.why {
                    None => (face.sign("✓", "ok"), format!("taken by {}", it.place)),
                    Some(why) => (face.sign("✖", "XX"), format!("not taken: {why}")),
                };
                format!("{sign} {} ({}): {}\n", it.channel, it.kind, printable(&said, face.unicode))
            };
            context.print(&tested.iter().map(line).collect::<String>())?;
        }
    }
    Ok(if tested.iter().all(|it| it.delivered) { DONE } else { OUTSIDE })
}

/// The alerts that are configured; there have to be some.
fn needed(context: &Context, store: Store) -> Result<Alerts, Failed> {
    of(context, store)?.ok_or_else(|| {
        Failed::Input(anyhow!(
            "no channel is configured: add an [[alerts.channels]] to the configuration file; docs/alerts.md shows how"
        ))
    })
}

/// The alerts that are configured, if any are.
pub(crate) fn of(context: &Context, store: Store) -> Result<Option<Alerts>, Failed> {
    Ok(configured(context)?.map(|settings| Alerts::new(store, settings)))
}

/// What is configured, if anybody is to be told.
pub(crate) fn configured(context: &Context) -> Result<Option<Settings>, Failed> {
    if !are_wanted(context) {
        return Ok(None);
    }
    let it = &context.config.alerts;
    let settings = Settings {
        channels: it.channels.iter().map(|channel| of_channel(channel, context)).collect(),
        rules: rules(it)?,
        quiet: it.quiet,
        over: it.recovered,
        outage: it.outage,
        most_per_hour: it.most_per_hour.max(1),
        desk: context.config.serve.public_url.clone(),
        secrets: context.env.secrets().collect(),
    };
    Ok(Some(settings))
}

/// Is there anybody to tell?
pub(crate) fn are_wanted(context: &Context) -> bool {
    !context.config.alerts.channels.is_empty()
}

/// At the end of a command that has recorded something: looks, and sends what is due, within a short time. What can't be
/// told now is told by whoever comes next; it is no concern of the command.
pub(crate) fn tell(context: &Context, store: Option<&Store>, limit: Duration) {
    let Some(store) = store.filter(|_| are_wanted(context)) else { return };
    let told = of(context, store.clone()).and_then(|alerts| {
        let runtime = crate::analyst::runtime()?;
        match alerts {
            Some(alerts) => runtime.block_on(alerts.tell(limit)).map(drop).map_err(Failed::from),
            None => Ok(()),
        }
    });
    if let Err(error) = told {
        complain(&format!("nobody is told: {error}"));
    }
}

/// Alerts that are told while something else goes on, until this is dropped or ended.
pub(crate) struct Telling {
    alerts: Alerts,
    ending: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    runtime: Arc<Runtime>,
}

impl Telling {
    /// Begins, if there is anybody to tell.
    pub(crate) fn begin(
        context: &Context,
        store: &Store,
        runtime: &Arc<Runtime>,
    ) -> Result<Option<Self>, Failed> {
        let Some(alerts) = of(context, store.clone())? else { return Ok(None) };
        runtime.block_on(alerts.expect())?;
        let (ending, ended) = tokio::sync::watch::channel(false);
        let watching = alerts.clone();
        let task = runtime.spawn(async move { watching.watch(ended, complain).await });
        Ok(Some(Self { alerts, ending, task, runtime: Arc::clone(runtime) }))
    }

    /// What is left to tell is told within a short time.
    pub(crate) fn end(self) {
        self.ending.send_replace(true);
        let told = self.runtime.block_on(async {
            let begun = tokio::time::Instant::now();
            _ = tokio::time::timeout(PATIENCE, self.task).await;
            self.alerts.tell(PATIENCE.saturating_sub(begun.elapsed())).await
        });
        if let Err(error) = told {
            complain(&format!("nobody is told: {error}"));
        }
    }
}

fn rules(alerts: &wanted::Alerts) -> Result<Vec<Rule>, Failed> {
    let wrong = |text: String| Failed::Input(anyhow!("the configuration: alerts.{text}"));
    let names: Vec<&str> = alerts.channels.iter().map(wanted::Channel::name).collect();
    if names.len() > CHANNELS {
        return Err(wrong(format!("channels: there are {}, and {CHANNELS} at most", names.len())));
    }
    for (place, name) in names.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            return Err(wrong(format!(
                "channels: a name has 1 to 40 letters, digits, -, _ and dots, unlike `{name}`"
            )));
        }
        if names[..place].contains(name) {
            return Err(wrong(format!("channels: there are two called `{name}`")));
        }
    }
    if alerts.rules.is_empty() {
        return Ok(Rule::usual());
    }
    let mut rules: Vec<Rule> = Vec::new();
    for it in &alerts.rules {
        let wrong = |text: &str| wrong(format!("rules: `{}`: {text}", it.name));
        if rules.iter().any(|rule| rule.name == it.name) {
            return Err(wrong("there are two of that name"));
        }
        if it.name.is_empty() || it.name.len() > 60 || it.name.chars().any(char::is_control) {
            return Err(wrong("a name has 1 to 60 characters"));
        }
        if let Some(unknown) = it.channels.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(wrong(&format!("there is no channel `{unknown}`")));
        }
        let rate = match (it.at_least, it.within) {
            (None, None) => None,
            (Some(most), Some(within)) if (1..=MOST_OF_A_RATE).contains(&(most as usize)) => {
                Some((most, within))
            }
            (Some(_), Some(_)) => return Err(wrong(&format!("at_least is 1 to {MOST_OF_A_RATE}"))),
            _ => return Err(wrong("at_least and within belong together")),
        };
        let of_failures = !it.severity.is_empty() || !it.category.is_empty() || !it.origin.is_empty();
        if it.loop_stopped
            && (of_failures || !it.types.is_empty() || it.new || it.candidates || rate.is_some())
        {
            return Err(wrong("loop_stopped stands alone: the other conditions are of failures"));
        }
        rules.push(Rule {
            name: it.name.clone(),
            severity: it.severity.clone(),
            category: it.category.clone(),
            origin: it.origin.clone(),
            types: it.types.clone(),
            new: it.new,
            rate,
            candidates: it.candidates,
            loop_stopped: it.loop_stopped,
            channels: it.channels.clone(),
        });
    }
    Ok(rules)
}

/// A channel whose secret can't be had keeps its messages until it can.
fn of_channel(it: &wanted::Channel, context: &Context) -> Channel {
    let made = match it {
        wanted::Channel::Email { name, smtp, tls, user, password_env, password_file, from, to } => {
            let password =
                secret("password", None, password_env.as_deref(), password_file.as_deref(), context);
            password.and_then(|password| match (user, password) {
                (Some(_), None) => {
                    Err("there is a user and no password: name password_env or password_file".to_owned())
                }
                (None, Some(_)) => Err("there is a password and no user".to_owned()),
                (user, password) => Ok(Channel::mail(
                    name,
                    &MailSettings {
                        server: smtp.clone(),
                        tls: match tls {
                            wanted::Tls::Starttls => Tls::Starttls,
                            wanted::Tls::Direct => Tls::Tls,
                            wanted::Tls::None => Tls::None,
                        },
                        login: user.clone().zip(password),
                        from: from.clone(),
                        to: to.clone(),
                    },
                )),
            })
        }
        wanted::Channel::Slack { name, url, url_env, url_file } => {
            secret("url", url.as_deref(), url_env.as_deref(), url_file.as_deref(), context)
                .and_then(|url| url.ok_or_else(no_url))
                .map(|url| Channel::slack(name, &url))
        }
        wanted::Channel::Webhook { name, url, url_env, url_file, secret_env, secret_file } => {
            secret("url", url.as_deref(), url_env.as_deref(), url_file.as_deref(), context)
                .and_then(|url| url.ok_or_else(no_url))
                .and_then(|url| {
                    let key = secret("secret", None, secret_env.as_deref(), secret_file.as_deref(), context)?;
                    Ok(Channel::webhook(name, &url, key.as_ref()))
                })
        }
    };
    let kind = match it {
        wanted::Channel::Email { .. } => "email",
        wanted::Channel::Slack { .. } => "slack",
        wanted::Channel::Webhook { .. } => "webhook",
    };
    made.unwrap_or_else(|why| Channel::unusable(it.name(), kind, why))
}

fn no_url() -> String {
    "there is no address: give url, url_env or url_file".to_owned()
}

/// A value that stands here, in a variable or in a file. What it is never stands in an error.
fn secret(
    what: &str,
    given: Option<&str>,
    variable: Option<&str>,
    file: Option<&Path>,
    context: &Context,
) -> Result<Option<SecretString>, String> {
    let text = match (given, variable, file) {
        (None, None, None) => return Ok(None),
        (Some(text), None, None) => text.to_owned(),
        (None, Some(name), None) => context
            .env
            .text(name)
            .ok_or_else(|| format!("its {what} is missing: the environment variable {name} is not set"))?
            .to_owned(),
        (None, None, Some(path)) => {
            let unreadable =
                |why: String| format!("its {what} is missing: {} can't be read ({why})", path.display());
            let data = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
            if !data.is_file() || data.len() > LONGEST_SECRET {
                return Err(unreadable("it is no file of at most 16 KiB".to_owned()));
            }
            std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?
        }
        _ => return Err(format!("its {what} is named more than once")),
    };
    let text = text.trim();
    if text.is_empty() { Err(format!("its {what} is empty")) } else { Ok(Some(SecretString::from(text))) }
}
