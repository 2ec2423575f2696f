//! A queue inside the process of a test, with the manners of the large ones: what is taken and not removed comes back after a
//! while.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Counts, Held, Job, Queue, QueueError};

/// Jobs of this process.
#[derive(Debug, Default)]
pub(super) struct Local(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Message>,
    buried: Vec<Job>,
    taken: u64,
}

#[derive(Debug)]
struct Message {
    job: Job,
    times: u32,
    /// Nobody sees it before.
    visible: Instant,
    receipt: String,
}

impl Local {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if all that waits had waited long enough.
    pub(super) fn hurry(&self) {
        self.state().waiting.iter_mut().for_each(|message| message.visible = Instant::now());
    }

    fn first(&self, hidden: Duration) -> Option<Held> {
        let (mut state, now) = (self.state(), Instant::now());
        state.taken += 1;
        let receipt = state.taken.to_string();
        let message = state.waiting.iter_mut().find(|message| message.visible <= now)?;
        message.times += 1;
        message.visible = now + hidden;
        message.receipt.clone_from(&receipt);
        let body = serde_json::to_string(&message.job).unwrap_or_default();
        Some(Held { job: Ok(message.job.clone()), body, times: message.times, receipt })
    }
}

#[async_trait]
impl Queue for Local {
    fn name(&self) -> &'static str {
        "this process"
    }

    async fn put(&self, job: &Job, after: Duration) -> Result<(), QueueError> {
        let visible = Instant::now() + after;
        self.state().waiting.push_back(Message {
            job: job.clone(),
            times: 0,
            visible,
            receipt: String::new(),
        });
        Ok(())
    }

    async fn take(&self, wait: Duration, hidden: Duration) -> Result<Option<Held>, QueueError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(held) = self.first(hidden) {
                return Ok(Some(held));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn hide(&self, held: &Held, hidden: Duration) -> Result<(), QueueError> {
        if let Some(message) = self.state().waiting.iter_mut().find(|it| it.receipt == held.receipt) {
            message.visible = Instant::now() + hidden;
        }
        Ok(())
    }

    async fn done(&self, held: &Held) -> Result<(), QueueError> {
        self.state().waiting.retain(|it| it.receipt != held.receipt);
        Ok(())
    }

    async fn bury(&self, held: &Held, _: &str) -> Result<(), QueueError> {
        let mut state = self.state();
        state.waiting.retain(|it| it.receipt != held.receipt);
        state.buried.extend(held.job.clone());
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let (state, now) = (self.state(), Instant::now());
        let waiting = state.waiting.iter().filter(|it| it.visible <= now).count() as u64;
        Ok(Counts { waiting, held: state.waiting.len() as u64 - waiting })
    }

    async fn buried(&self) -> Result<Vec<Job>, QueueError> {
        Ok(self.state().buried.clone())
    }
}
