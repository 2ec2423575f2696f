//! Which success a failure is compared with: known for a moment, because failures of a kind come many at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coroner_store::{CommandLine, Error, LogId, Store};

/// A success that another process has recorded is heard of after this long at the latest.
const MOMENT: Duration = Duration::from_secs(2);
/// So many kinds are remembered.
const KINDS: usize = 256;

type Known = HashMap<(String, CommandLine), (Instant, Option<LogId>)>;

#[derive(Default)]
pub(crate) struct Baselines(Mutex<Known>);

impl Baselines {
    /// The log of the last run of this kind that succeeded.
    pub(crate) async fn find(
        &self,
        store: &Store,
        kind: &str,
        command: &CommandLine,
    ) -> Result<Option<LogId>, Error> {
        let question = (kind.to_owned(), command.clone());
        let asked = Instant::now();
        if let Some((since, known)) = self.known().get(&question)
            && asked.duration_since(*since) < MOMENT
        {
            return Ok(*known);
        }
        let found = store.last_success(kind, command).await?;
        let mut known = self.known();
        if known.len() >= KINDS {
            known.clear();
        }
        known.insert(question, (asked, found));
        Ok(found)
    }

    /// Something has succeeded.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
