//! Brings what waits to the desk: each entry once, whoever else delivers, whatever is killed when.

use std::io;
use std::time::{Duration, Instant};

use super::spool::{Entry, Got, Spool};
use super::wire::{Desk, NotTaken};
use super::{LogSize, Taken};

/// No answer to a small report takes longer.
const ANSWER: Duration = Duration::from_secs(30);
/// Nor does so much of a log.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
/// How often a desk that asks for patience is asked again, and how long it is waited for at most.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What to do about a file of the spool that can't be read.
pub(super) const UNREADABLE: &str =
    "see what is wrong with the disk, then run `coroner report deliver --again`";

/// What became of an entry.
#[derive(Debug)]
pub enum Fate {
    /// The desk has it; nothing is left of it here.
    Taken(Box<Taken>),
    /// It waits.
    Waits(Box<Entry>, NotTaken),
    /// It is kept aside.
    Aside(String),
}

/// What came of a delivery.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Entries that the desk has taken.
    pub taken: u64,
    /// Why it ended before the last one, if it did.
    pub later: Option<NotTaken>,
    /// Entries that are kept aside from now on, each with the reason.
    pub aside: Vec<String>,
    /// Entries that are others' at the moment: their run goes on, or somebody else delivers them.
    pub others: u64,
    /// Entries for other desks.
    pub elsewhere: u64,
    /// The spool itself failed.
    pub failed: Option<io::Error>,
}

/// Delivers one entry with its end. `started`: under which id the desk knows it already, where it has said so. After
/// `deadline` nothing more is tried.
pub fn deliver(mut entry: Entry, desk: &Desk, started: Option<String>, deadline: Option<Instant>) -> Fate {
    let told = tell(&mut entry, desk, started, deadline);
    match told {
        // what can't be removed is delivered again, and known there
        Ok(taken) => {
            _ = entry.gone();
            Fate::Taken(Box::new(taken))
        }
        Err(NotTaken::Refused { why, advice }) => {
            let id = entry.begun().experiment_id.clone();
            let said = format!("{why}; {advice}");
            match entry.aside(&said) {
                Ok(path) => Fate::Aside(format!("{id}: {said}; kept in {}", path.display())),
                Err(error) => Fate::Aside(format!("{id}: {said}; it can't be kept aside ({error})")),
            }
        }
        Err(later) => Fate::Waits(Box::new(entry), later),
    }
}

fn tell(
    entry: &mut Entry,
    desk: &Desk,
    mut started: Option<String>,
    deadline: Option<Instant>,
) -> Result<Taken, NotTaken> {
    // not to be waited for: those behind it are not to wait with it
    let unreadable =
        |e: io::Error| NotTaken::Refused { why: format!("its log can't be read ({e})"), advice: UNREADABLE };
    let log = entry.log().map_err(unreadable)?;
    let Some(ended) = entry.ended() else {
        return Err(NotTaken::Later { why: "it has not ended yet".to_owned(), after: None });
    };
    let begun = entry.begun();
    let left = |most: Duration| match deadline {
        None => Some(most),
        Some(deadline) => {
            Some(deadline.saturating_duration_since(Instant::now()).min(most)).filter(|it| !it.is_zero())
        }
    };
    for attempt in 1.. {
        let once = || {
            let late = || NotTaken::Later {
                why: "the desk takes longer than can be waited".to_owned(),
                after: None,
            };
            let id = match &started {
                Some(id) => id.clone(),
                // whether it was told before is not known here, and the desk knows it by its key
                None => desk.start(begun, true, left(ANSWER).ok_or_else(late)?)?.address(),
            };
            let most = ANSWER + upload(ended.log);
            desk.end(&id, ended, log.as_deref(), left(most).ok_or_else(late)?)
        };
        let wait = match once() {
            Err(NotTaken::Later { after: Some(after), .. }) if attempt < TRIES => after.min(LONGEST_PAUSE),
            // the experiment went with what was removed there: it is told from its start once more
            Err(NotTaken::Refused { .. }) if started.take().is_some() => Duration::ZERO,
            other => return other,
        };
        // many who were asked to wait at once don't come back at once
        let wait = wait + PAUSE.mul_f64(f64::from(u32::from(random_byte())) / 256.0);
        if deadline.is_some_and(|deadline| Instant::now() + wait >= deadline) {
            return Err(NotTaken::Later {
                why: "the desk is busy for longer than can be waited".to_owned(),
                after: None,
            });
        }
        std::thread::sleep(wait);
    }
    Err(NotTaken::Later { why: "the desk is busy".to_owned(), after: None })
}

fn upload(log: Option<LogSize>) -> Duration {
    Duration::from_secs(log.map_or(0, |log| log.stored / SLOWEST_BYTES_PER_SECOND))
}

fn random_byte() -> u8 {
    let mut byte = [128];
    // without random numbers all wait the same
    _ = getrandom::fill(&mut byte);
    byte[0]
}

/// Delivers what waits for this desk, the oldest first, until it is unreachable. `again`: what is kept aside too.
#[must_use]
pub fn deliver_waiting(spool: &Spool, desk: &Desk, again: bool) -> Delivered {
    let mut done = Delivered::default();
    spool.tidy_up();
    let mut all = spool.entries(false);
    if again {
        all.extend(spool.entries(true));
    }
    for path in all {
        let entry = match spool.take(&path, desk.url()) {
            Ok(Got::Ready(entry)) => *entry,
            Ok(Got::Others) => {
                done.others += 1;
                continue;
            }
            Ok(Got::Elsewhere) => {
                done.elsewhere += 1;
                continue;
            }
            Ok(Got::Damaged(why)) => {
                done.aside.push(why);
                continue;
            }
            Err(error) => {
                done.failed = Some(error);
                continue;
            }
        };
        match deliver(entry, desk, None, None) {
            Fate::Taken(_) => done.taken += 1,
            Fate::Aside(why) => done.aside.push(why),
            Fate::Waits(_, why) => {
                done.later = Some(why);
                break;
            }
        }
    }
    done
}
