//! What alerts need of a store: what has failed since the last look, what is remembered between looks, and an outbox of
//! messages. The three are changed in one step, so that a crash neither loses nor doubles a message.

use jiff::Timestamp;
use serde::Serialize;

use crate::{Error, Experiment, RunId, Store};

/// Something that somebody may want to hear of, in the order in which it came to be known.
#[derive(Debug, Clone)]
pub struct AlertEvent {
    /// Grows with each.
    pub id: i64,
    /// What it is.
    pub cause: AlertCause,
}

/// What somebody may want to hear of.
#[derive(Debug, Clone)]
pub enum AlertCause {
    /// An experiment failed, or a failed one was judged anew.
    Failed(Box<AlertFailure>),
    /// A run of the loop was stopped by something that is not the candidates' fault.
    Stopped(Box<crate::Run>),
    /// It has been removed since, or can't be read by this release.
    Gone,
}

/// A failure, with what decides whether it is news.
#[derive(Debug, Clone)]
pub struct AlertFailure {
    /// The experiment, its diagnosis included.
    pub experiment: Experiment,
    /// Of the group that it belongs to.
    pub signature: String,
    /// It is the first of its group that was ever seen.
    pub is_new: bool,
    /// Its group was resolved, and it opened it again.
    pub reopened: bool,
    /// People muted or resolved its group.
    pub is_quiet: bool,
    /// Of a candidate: its run of the loop.
    pub run: Option<RunId>,
    /// When it ended; without an end of its own, when it began.
    pub ended_at: Timestamp,
    /// It had ended before and was judged anew.
    pub again: bool,
    /// The channels that have counted it already.
    pub told: Vec<String>,
}

/// What there is to look at.
#[derive(Debug, Clone)]
pub struct AlertRound {
    /// Of what is remembered: whoever settles a round that is no longer the latest changes nothing.
    pub version: i64,
    /// What was remembered at the last look; empty at first.
    pub memory: String,
    /// What came to be known since, the oldest first.
    pub events: Vec<AlertEvent>,
}

/// What came of a round.
#[derive(Debug, Clone, Default)]
pub struct AlertStep {
    /// Of the round.
    pub version: i64,
    /// What is to be remembered.
    pub memory: String,
    /// Events that have been dealt with.
    pub done: Vec<i64>,
    /// Experiments, by number, that a channel has counted.
    pub counted: Vec<(u64, String)>,
    /// What is to be sent.
    pub messages: Vec<NewMessage>,
}

/// A message for the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Unique and the same at every try: a receiver tells doubles by it.
    pub delivery: String,
    /// To whom, by the name in the configuration: the address and its secrets stay there.
    pub channel: String,
    /// What it belongs to.
    pub incident: String,
    /// What it says; JSON.
    pub content: String,
    /// When.
    pub at: Timestamp,
}

/// How far a message has come. The words never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It is to be sent, for the first time or again.
    Waiting,
    /// The receiver has taken it.
    Sent,
    /// It was given up.
    Failed,
}

impl MessageState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Sent, Self::Failed];

    /// The spelling in JSON and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for MessageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for MessageState {
    type Err = coroner_diagnosis::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SPELLINGS: [&str; 3] = ["waiting", "sent", "failed"];
        let unknown = || coroner_diagnosis::UnknownWord { text: text.to_owned(), expected: &SPELLINGS };
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(unknown)
    }
}

/// A message of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxMessage {
    /// Its number.
    pub id: i64,
    /// Unique and the same at every try.
    pub delivery: String,
    /// To whom.
    pub channel: String,
    /// What it belongs to.
    pub incident: String,
    /// What it says; JSON.
    #[serde(skip)]
    pub content: String,
    /// How far it has come.
    pub state: MessageState,
    /// How many times it was tried, the try under way included.
    pub attempts: u32,
    /// Since when it is there.
    pub created_at: Timestamp,
    /// When it is tried next; while somebody tries, until when nobody else does.
    pub due_at: Timestamp,
    /// When it was sent or given up.
    pub settled_at: Option<Timestamp>,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The receiver has taken it.
    Sent,
    /// It did not work: for this reason, to be tried again then.
    Again(String, Timestamp),
    /// It did not work, and is given up, for this reason.
    Failed(String),
}

/// How deliveries to one channel stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelDeliveries {
    /// The channel.
    pub channel: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that were given up.
    pub failed: u64,
    /// When a message was last taken.
    pub last_sent: Option<Timestamp>,
    /// Why the latest message that was not taken at the first try was not; absent once a later one was.
    pub last_error: Option<String>,
}

impl Store {
    // ---- alerts ----

    /// From now on what fails is kept to be looked at by [`Self::alert_round`], whoever records it.
    pub async fn expect_alerts(&self) -> Result<(), Error> {
        match self.alert_round(0).await? {
            Some(_) => Ok(()),
            None => self.backend.expect_alerts().await,
        }
    }

    /// What there is to look at, up to so much of it; nothing where no alerts are expected.
    pub async fn alert_round(&self, limit: usize) -> Result<Option<AlertRound>, Error> {
        self.backend.alert_round(limit).await
    }

    /// Records what came of a round, in one step. False, and nothing is changed, if another was quicker. A store that can't
    /// take so much at once says [`Error::StepTooLarge`], and nothing is changed: look at fewer of the events.
    pub async fn settle_alerts(&self, step: AlertStep) -> Result<bool, Error> {
        self.backend.settle_alerts(step).await
    }

    /// Takes the oldest message to this channel that is due, so that nobody else sends it until `until`. `by` is known to
    /// the taker alone.
    pub async fn claim_message(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        self.backend.claim_message(channel, by, now, until).await
    }

    /// Records how a try ended. False, and nothing is changed, if somebody else has taken the message meanwhile.
    pub async fn settle_message(
        &self,
        id: i64,
        by: &str,
        tried: Tried,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.backend.settle_message(id, by, tried, now).await
    }

    /// Messages that somebody has taken and not settled: number and taker.
    pub async fn taken_messages(&self) -> Result<Vec<(i64, String)>, Error> {
        self.backend.taken_messages().await
    }

    /// Keeps a message that has been tried already, outside the order of the others.
    pub async fn keep_message(&self, message: NewMessage, error: Option<&str>) -> Result<(), Error> {
        self.backend.keep_message(message, error.map(str::to_owned)).await
    }

    /// Messages, of one state or of all, the newest first.
    pub async fn outbox(
        &self,
        state: Option<MessageState>,
        limit: usize,
    ) -> Result<Vec<OutboxMessage>, Error> {
        self.backend.outbox(state, limit).await
    }

    /// How deliveries stand, for each of these channels.
    pub async fn deliveries(&self, channels: &[String]) -> Result<Vec<ChannelDeliveries>, Error> {
        self.backend.deliveries(channels).await
    }

    /// Messages that were given up wait again, and those that wait are due at once: that one, or all. Says how many.
    pub async fn retry_messages(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error> {
        self.backend.retry_messages(id, now).await
    }
}
