//! Threads that look at failures with the rules: always the same few, since each keeps automata of its own.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// As many threads as there are processors: more would not be quicker.
pub(crate) struct Judges(mpsc::Sender<Work>);

impl Judges {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel::<Work>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let receiver = Arc::clone(&receiver);
            std::thread::spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    // the desk is gone
                    let Ok(work) = next else { return };
                    // whoever asked learns it from the answer that does not come
                    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                }
            });
        }
        Self(sender)
    }

    /// What `look` finds; `None` if it panicked.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || _ = answer.send(look()));
        self.0.send(work).ok()?;
        answered.await.ok()
    }
}
