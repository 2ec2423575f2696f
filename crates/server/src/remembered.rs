//! What is the same for everybody who looks, kept until anything is written: each event has all open pages ask the same, and
//! many who look at once cost as much as one.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use coroner_store::{Error, Store};
use tokio::sync::OnceCell;

type Answers<Q, A> = HashMap<Q, Arc<OnceCell<Arc<A>>>>;

/// Answers as of a version.
struct Kept<Q, A> {
    version: i64,
    /// Since when it is known here; nothing once all that belongs to it can be read.
    since: Option<Instant>,
    answers: Answers<Q, A>,
}

/// Answers to questions of one kind.
pub(crate) struct Remembered<Q, A> {
    /// So many different questions are kept.
    most: usize,
    kept: Mutex<Kept<Q, A>>,
}

impl<Q: Eq + Hash, A> Remembered<Q, A> {
    pub(crate) fn of_at_most(most: usize) -> Self {
        Self { most, kept: Mutex::new(Kept { version: 0, since: None, answers: HashMap::new() }) }
    }

    /// The answer as the store stands now. Whoever asks the same meanwhile waits for it and asks nobody.
    pub(crate) async fn get(
        &self,
        store: &Store,
        question: Q,
        ask: impl Future<Output = Result<A, Error>>,
    ) -> Result<Arc<A>, Error> {
        // before the question: what is written while it is answered makes the answer old
        let version = store.version().await?;
        let cell = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.version != version {
                let since = Some(Instant::now()).filter(|_| !store.settles().is_zero());
                *kept = Kept { version, since, answers: HashMap::new() };
            }
            // what was answered before may have missed what was written last
            if kept.since.is_some_and(|since| since.elapsed() >= store.settles()) {
                (kept.since, kept.answers) = (None, HashMap::new());
            }
            if kept.answers.len() >= self.most && !kept.answers.contains_key(&question) {
                kept.answers = HashMap::new();
            }
            Arc::clone(kept.answers.entry(question).or_default())
        };
        let answer = cell.get_or_try_init(|| async { ask.await.map(Arc::new) }).await?;
        Ok(Arc::clone(answer))
    }
}
