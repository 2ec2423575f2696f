//! What is the same for everybody who looks, kept until anything is written: many who look at once cost as much as one.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use coroner_store::{Error, Store};
use tokio::sync::Mutex;

/// So many different questions are kept.
const MOST: usize = 8;

/// Answers to questions of one kind.
pub(crate) struct Remembered<Q, A> {
    kept: Mutex<(i64, HashMap<Q, Arc<A>>)>,
}

impl<Q, A> Default for Remembered<Q, A> {
    fn default() -> Self {
        Self { kept: Mutex::new((0, HashMap::new())) }
    }
}

impl<Q: Eq + Hash, A> Remembered<Q, A> {
    /// The answer as the store stands now. Whoever asks the same meanwhile waits for it and asks nobody.
    pub(crate) async fn get(
        &self,
        store: &Store,
        question: Q,
        ask: impl Future<Output = Result<A, Error>>,
    ) -> Result<Arc<A>, Error> {
        let mut kept = self.kept.lock().await;
        // before the question: what is written while it is answered makes the answer old
        let version = store.version().await?;
        if kept.0 != version || kept.1.len() >= MOST {
            *kept = (version, HashMap::new());
        }
        if let Some(answer) = kept.1.get(&question) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(ask.await?);
        kept.1.insert(question, Arc::clone(&answer));
        Ok(answer)
    }
}
