//! The circuit breaker: who failed several times in a row is left alone for a while.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{AskError, Trouble};
use crate::ledger::lock;

/// Opens after `after` failures in a row, or one that can't get better by itself; after `pause` one question
/// is let through to see.
#[derive(Debug)]
pub(crate) struct Breaker {
    after: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    last: Option<AskError>,
    closed_until: Option<Instant>,
    /// One is on its way to see whether it works again.
    trying: bool,
}

impl Breaker {
    pub(crate) fn new(after: u32, pause: Duration) -> Self {
        Self { after: after.max(1), pause, state: Mutex::default() }
    }

    /// Fails if nothing is let through now.
    pub(crate) fn check(&self) -> Result<(), AskError> {
        lock(&self.state).allows(Instant::now())
    }

    /// Lets one question through; its ticket has to be settled.
    pub(crate) fn enter(&self) -> Result<Ticket<'_>, AskError> {
        let mut state = lock(&self.state);
        state.allows(Instant::now())?;
        let trial = state.closed_until.is_some();
        state.trying |= trial;
        Ok(Ticket { breaker: self, trial })
    }
}

impl State {
    fn allows(&self, now: Instant) -> Result<(), AskError> {
        let (Some(until), Some(last)) = (self.closed_until, &self.last) else { return Ok(()) };
        if now >= until && !self.trying {
            return Ok(());
        }
        // while one is trying, the others are told to come back in a second
        let seconds = until.saturating_duration_since(now).as_secs_f64().ceil().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and the pause"
        )]
        let seconds = seconds as u64;
        Err(AskError::Resting { kind: last.kind(), failures: self.failures, seconds, last: last.to_string() })
    }
}

/// The permission to ask once. Dropped without being settled (the caller went away) it says nothing.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    breaker: &'a Breaker,
    trial: bool,
}

impl Ticket<'_> {
    /// How it went: an error that is only about this question counts as well as an answer.
    pub(crate) fn settle(self, error: Option<&AskError>) {
        let mut state = lock(&self.breaker.state);
        match error.map(|e| (e, e.trouble())) {
            None | Some((_, Trouble::None)) => *state = State::default(),
            Some((error, trouble)) => {
                state.failures = state.failures.saturating_add(1);
                state.last = Some(error.clone());
                if self.trial || trouble == Trouble::Lasting || state.failures >= self.breaker.after {
                    state.closed_until = Some(Instant::now() + self.breaker.pause);
                }
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.trial {
            lock(&self.breaker.state).trying = false;
        }
    }
}
