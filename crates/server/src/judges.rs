//! Threads that look at failures with the rules: always the same few, since each keeps automata of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// As many threads as there are processors: more would not be quicker.
pub(crate) struct Judges(Vec<Judge>);

/// Each has a queue of its own: taking turns at one would have them wake one another.
struct Judge {
    queue: mpsc::Sender<Work>,
    /// What waits, and what is being looked at.
    waiting: Arc<AtomicUsize>,
}

impl Judges {
    pub(crate) fn new() -> Self {
        let judge = |_| {
            let (queue, receiver) = mpsc::channel::<Work>();
            let waiting = Arc::new(AtomicUsize::new(0));
            let left = Arc::clone(&waiting);
            std::thread::spawn(move || {
                // until the desk is gone
                for work in receiver {
                    // whoever asked learns it from the answer that does not come
                    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            });
            Judge { queue, waiting }
        };
        Self((0..std::thread::available_parallelism().map_or(1, usize::from)).map(judge).collect())
    }

    /// What `look` finds; `None` if it panicked.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let judge = self.0.iter().min_by_key(|judge| judge.waiting.load(Ordering::Relaxed))?;
        judge.waiting.fetch_add(1, Ordering::Relaxed);
        judge.queue.send(Box::new(move || _ = answer.send(look()))).ok()?;
        answered.await.ok()
    }
}
