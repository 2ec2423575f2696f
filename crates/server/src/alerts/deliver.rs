//! Sends what lies in the outbox: one message at a time to each channel, again with growing pauses, given up at last.

use std::time::Duration;

use coroner_store::{Liveness, OutboxMessage, Owner, Store, Tried};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::channel::{Channel, SendError};
use super::notice::Notice;
use super::outgoing::Outgoing;

/// No try takes longer: the connection, each answer and the whole together.
const TRY: Duration = Duration::from_secs(40);
/// Nobody else sends a message that was taken, for so long. More than a try takes.
const TAKEN: SignedDuration = SignedDuration::from_secs(90);
/// A message that could not be delivered is given up after this and so many tries ...
const PATIENCE: SignedDuration = SignedDuration::from_hours(72);
const TRIES: u32 = 10;
/// ... and one that the receiver does not want after this: a wrong password or address may be mended until then.
const REFUSED_PATIENCE: SignedDuration = SignedDuration::from_hours(24);
const REFUSED_TRIES: u32 = 5;

/// What came of sending what was due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Messages that were taken.
    pub sent: u64,
    /// Messages that were not, and why; those that are given up too.
    pub failures: Vec<String>,
}

/// Sends what is due to one channel, until something fails or the time is up.
pub(super) async fn due(
    store: &Store,
    channel: &Channel,
    desk: Option<&str>,
    until: Option<Instant>,
) -> Result<Delivered, coroner_store::Error> {
    let by = taker();
    let mut done = Delivered::default();
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(done);
        }
        let now = Timestamp::now();
        let Some(message) = store.claim_message(channel.name(), &by, now, now + TAKEN).await? else {
            return Ok(done);
        };
        let result = attempt(channel, &message, desk, until).await;
        let now = Timestamp::now();
        let (tried, failure) = match result {
            Ok(()) => (Tried::Sent, None),
            Err(error) => {
                let age = now.duration_since(message.created_at);
                let tried = match again(&error, message.attempts, age, chance()) {
                    Some(pause) => Tried::Again(error.to_string(), now + pause),
                    None => Tried::Failed(error.to_string()),
                };
                (tried, Some(format!("{}: {error}", channel.name())))
            }
        };
        store.settle_message(message.id, &by, tried, now).await?;
        match failure {
            None => done.sent += 1,
            // the next would most likely fail as well, and each may take long
            Some(why) => {
                done.failures.push(why);
                return Ok(done);
            }
        }
    }
}

/// Messages that a process was sending when it was killed are due at once. Whether the receiver had taken one, nobody
/// knows: it is sent again under the same id.
pub(super) async fn free_abandoned(store: &Store) -> Result<(), coroner_store::Error> {
    for (id, by) in store.taken_messages().await? {
        let owner = by.split_once(' ').and_then(|(_, owner)| serde_json::from_str::<Owner>(owner).ok());
        if owner.is_some_and(|owner| owner.liveness() == Liveness::Gone) {
            let now = Timestamp::now();
            let tried = Tried::Again("whoever was sending it ended before it was taken".to_owned(), now);
            store.settle_message(id, &by, tried, now).await?;
        }
    }
    Ok(())
}

/// Something that no other taker is called, and the process that it is.
fn taker() -> String {
    let unique = crate::auth::new_token().unwrap_or_else(|_| format!("{:?}", std::time::Instant::now()));
    let unique = unique.replace(' ', "");
    format!("{unique} {}", serde_json::to_string(&Owner::this_process()).unwrap_or_default())
}

async fn attempt(
    channel: &Channel,
    message: &OutboxMessage,
    desk: Option<&str>,
    until: Option<Instant>,
) -> Result<(), SendError> {
    let notice: Notice = serde_json::from_str(&message.content)
        .map_err(|_| SendError::later("this release can't read the message: it was made by a later one"))?;
    let outgoing = Outgoing {
        delivery: &message.delivery,
        channel: channel.name(),
        notice: &notice,
        at: message.created_at,
        desk,
    };
    let limit = Instant::now() + TRY;
    let limit = until.map_or(limit, |until| until.min(limit));
    match timeout_at(limit, channel.send(&outgoing)).await {
        Ok(result) => result,
        Err(_) => Err(SendError::later("it was not taken in time")),
    }
}

/// After which pause to try again; never, if it is to be given up. `chance` is from 0 to 1: so that those that failed
/// together do not come together again.
fn again(error: &SendError, attempts: u32, age: SignedDuration, chance: f64) -> Option<SignedDuration> {
    let (first, longest, patience, tries) = match error {
        SendError::Later { .. } => (30.0, 3600.0, PATIENCE, TRIES),
        SendError::Refused { .. } => (300.0, 2.0 * 3600.0, REFUSED_PATIENCE, REFUSED_TRIES),
    };
    if age >= patience && attempts >= tries {
        return None;
    }
    let doubled = f64::powi(2.0, i32::try_from(attempts.saturating_sub(1).min(20)).unwrap_or(20));
    let pause = f64::min(first * doubled, longest) * (0.8 + 0.4 * chance);
    let asked = match error {
        SendError::Later { after: Some(after), .. } => after.as_secs_f64(),
        _ => 0.0,
    };
    // a fraction of hours: always fits
    SignedDuration::try_from_secs_f64(pause.max(asked)).ok()
}

fn chance() -> f64 {
    let mut byte = [0; 1];
    // without random numbers, all wait alike
    _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let later = SendError::later("x");
        let refused = SendError::Refused { why: "x".into() };
        let asked = SendError::Later { why: "x".into(), after: Some(Duration::from_secs(600)) };
        let hours = SignedDuration::from_hours;
        let cases = [
            (&later, 1, hours(0), Some(30)),
            (&later, 2, hours(0), Some(60)),
            (&later, 7, hours(1), Some(1920)),
            (&later, 8, hours(2), Some(3600)),
            (&later, 70, hours(71), Some(3600)),
            (&later, 71, hours(72), None),
            // nobody came by for a week: it is tried some times all the same
            (&later, 1, hours(168), Some(30)),
            (&refused, 1, hours(0), Some(300)),
            (&refused, 6, hours(20), Some(7200)),
            (&refused, 15, hours(24), None),
            (&asked, 1, hours(0), Some(600)),
        ];
        for (error, attempts, age, expected) in cases {
            let pause = again(error, attempts, age, 0.5).map(|pause| pause.as_secs());
            assert_eq!(pause, expected, "{error:?} {attempts} {age:?}");
        }
        let (least, most) =
            (again(&later, 1, hours(0), 0.0).unwrap(), again(&later, 1, hours(0), 1.0).unwrap());
        assert_eq!((least.as_secs(), most.as_secs()), (24, 36));
    }
}
