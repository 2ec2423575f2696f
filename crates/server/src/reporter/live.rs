//! Tells the desk of a run while it runs: that it has begun, and every now and then that it still goes on. Nothing that the desk
//! does, or fails to do, is of any concern to the run.

use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Begun;
use super::spool::Entry;
use super::wire::{Desk, NotTaken};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(60);
/// The first pause after a start that nobody took; each is twice the one before, up to a beat.
const PAUSE: Duration = Duration::from_secs(1);

/// A run of which the desk is told.
#[derive(Debug)]
pub struct Live {
    started: Arc<Started>,
    /// Dropped when the run has ended.
    end: Sender<()>,
}

/// What came of the start, once there was an answer or none could be had.
#[derive(Debug, Default)]
struct Started {
    answer: Mutex<Option<Result<String, NotTaken>>>,
    changed: Condvar,
}

impl Started {
    fn set(&self, answer: Result<String, NotTaken>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.changed.notify_all();
    }
}

impl Live {
    /// Begins to tell, on a thread of its own.
    pub fn begin(desk: &Arc<Desk>, entry: &Entry) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let started = Arc::new(Started::default());
        let run = Run {
            desk: Arc::clone(desk),
            begun: entry.begun().clone(),
            pulse: entry.pulse(),
            started: Arc::clone(&started),
            ended,
        };
        std::thread::Builder::new().name("report".into()).spawn(move || run.tell())?;
        Ok(Self { started, end })
    }

    /// The run has ended. The id under which the desk knows it, if it has said so until then; a start that is on its way is
    /// waited for, so that it is not told twice.
    #[must_use]
    pub fn end(self, deadline: Instant) -> Option<String> {
        drop(self.end);
        let mut answer = self.started.answer.lock().unwrap_or_else(PoisonError::into_inner);
        while answer.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let woken = self.started.changed.wait_timeout(answer, left);
            answer = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        answer.take().and_then(Result::ok)
    }
}

struct Run {
    desk: Arc<Desk>,
    begun: Begun,
    pulse: Option<File>,
    started: Arc<Started>,
    ended: Receiver<()>,
}

impl Run {
    fn tell(self) {
        let Some(id) = self.start() else { return };
        while self.ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            self.give_sign();
            // the next one may arrive; if none does, the desk takes it for lost, and its end still counts
            _ = self.desk.beat(&id, ANSWER);
        }
    }

    fn start(&self) -> Option<String> {
        let mut pause = PAUSE;
        for attempt in 0.. {
            let answer = self.desk.start(&self.begun, attempt > 0, ANSWER).map(|taken| taken.address());
            self.started.set(answer.clone());
            if let Ok(id) = answer {
                return Some(id);
            }
            if self.ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            self.give_sign();
            pause = (pause * 2).min(BEAT);
        }
        None
    }

    /// For those who share the spool's folder from other machines.
    fn give_sign(&self) {
        if let Some(file) = &self.pulse {
            _ = file.set_modified(SystemTime::now());
        }
    }
}
