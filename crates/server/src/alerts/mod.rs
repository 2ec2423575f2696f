//! Alerts: tells people and programs what has failed, once and not a hundred times, whoever is running.
//!
//! Every process that shares a store may look and send: what is remembered, what has been looked at and what is to be
//! sent are changed in one step of the store, and a message is one sender's at a time. What the step decides is pure
//! (`memory`).

mod channel;
mod deliver;
mod event;
mod incident;
#[cfg(test)]
mod limits;
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
use coroner_store::{AlertEvent, AlertRound, AlertStep, ChannelDeliveries, Error, NewMessage, Store};
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

/// So many events are looked at in one step at most.
const STEP: usize = 200;
/// Whoever watches looks no longer than this before it is asked whether that is to end.
const LOOK: Duration = Duration::from_secs(5);
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

    /// Looks at what has happened and puts what is to be told into the outbox, until nothing is left or it is `until`. Says how
    /// many messages that were.
    pub async fn look(&self, now: Timestamp, until: Option<Instant>) -> Result<usize, Error> {
        let store = &self.0.store;
        let mut told = 0;
        while until.is_none_or(|until| Instant::now() < until) {
            let Some(round) = store.alert_round(STEP).await? else {
                self.expect().await?;
                break;
            };
            let mut events = round.events.as_slice();
            let (messages, settled) = loop {
                let Some(step) = self.step(&round, events, now) else { return Ok(told) };
                let messages = step.messages.len();
                match store.settle_alerts(step).await {
                    // what is left of them is for the next round
                    Err(Error::StepTooLarge { .. }) if events.len() > 1 => {
                        events = &events[..events.len() / 2];
                    }
                    settled => break (messages, settled?),
                }
            };
            // another that was quicker has told it: look at what is left
            if settled {
                told += messages;
                if events.is_empty() && messages < memory::MESSAGES {
                    break;
                }
            }
        }
        Ok(told)
    }

    /// What comes of these events of a round; nothing if nothing does.
    fn step(&self, round: &AlertRound, events: &[AlertEvent], now: Timestamp) -> Option<AlertStep> {
        let Inner { settings, names, .. } = &*self.0;
        let pace = Pace {
            quiet: settings.quiet,
            over: settings.over,
            outage: settings.outage,
            most_per_hour: settings.most_per_hour,
            messages: memory::MESSAGES,
            room: memory::ROOM,
        };
        // what a later release remembers can't be read: its incidents begin anew
        let before: Memory = serde_json::from_str(&round.memory).unwrap_or_default();
        let happened: Vec<Event> = events.iter().filter_map(Event::of).collect();
        let mut after = before.clone();
        let looked = after.look(&settings.rules, names, &pace, &happened, now.as_millisecond());
        if events.is_empty() && looked.notices.is_empty() && after == before {
            return None;
        }
        Some(AlertStep {
            version: round.version,
            memory: serde_json::to_string(&after).unwrap_or_default(),
            done: events.iter().map(|event| event.id).collect(),
            counted: looked.counted,
            messages: looked.notices.into_iter().map(|it| self.message(it, now)).collect(),
        })
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
        let begun = Instant::now();
        let until = begun + limit;
        // what was found is to be sent too, however much there is to look at
        let looked = self.look(Timestamp::now(), Some(begun + limit / 2));
        let looked = tokio::time::timeout_at(until, looked).await;
        match looked {
            Ok(result) => result?,
            Err(_) => return Ok(Delivered::default()),
        };
        self.deliver(Some(until)).await
    }

    /// Looks and sends, again and again, until `ending` says so; what is under way then is ended first. A store that can't
    /// be read or written for a moment is asked again, and `complain` is told so, once for each reason until it works.
    pub async fn watch(&self, ending: watch::Receiver<bool>, complain: impl Fn(&str)) {
        let complain = |grievance: &mut Grievance, what: &str, result: Result<(), Error>| {
            if let Some(why) = grievance.news(result) {
                complain(&format!("{what}: {why}"));
            }
        };
        let look = async {
            let (mut ending, mut grievance) = (ending.clone(), Grievance::default());
            while !ended(&mut ending).await {
                let looked = self.look(Timestamp::now(), Some(Instant::now() + LOOK)).await;
                let freed = deliver::free_abandoned(&self.0.store).await;
                complain(&mut grievance, "what has failed can't be told", looked.and(freed));
            }
        };
        let desk = self.0.settings.desk.as_deref();
        // a slow receiver holds up nobody else
        let send = self.channels().iter().map(async |channel| {
            let (mut ending, mut grievance) = (ending.clone(), Grievance::default());
            let what = format!("messages to {} can't be sent", channel.name());
            while !ended(&mut ending).await {
                let sent = deliver::due(&self.0.store, channel, desk, None).await;
                complain(&mut grievance, &what, sent.map(drop));
            }
        });
        // whoever looks expects them, if that failed
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

/// What was complained of, so that nobody hears the same each second.
#[derive(Default)]
struct Grievance(Option<String>);

impl Grievance {
    /// Why it did not work, if that was not said since it last did.
    fn news(&mut self, result: Result<(), Error>) -> Option<String> {
        let why = result.err().map(|error| error.to_string());
        let news = why.clone().filter(|why| self.0.as_ref() != Some(why));
        self.0 = why;
        news
    }
}

/// Waits a little; true once there is nothing more to wait for.
async fn ended(ending: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(PERIOD, ending.wait_for(|ending| *ending)).await.is_ok()
}
