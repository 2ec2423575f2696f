//! What the store knows that belongs beside a diagnosis: earlier failures like it, and how many there were.

use coroner_diagnosis::Diagnosis;
use coroner_store::{ExperimentId, Store};
use tokio::runtime::Runtime;

use crate::context::Failed;

/// Earlier failures that are shown.
const MOST: usize = 3;

/// Adds earlier failures like this one to `diagnosis`; the number of those with the same signature. A store that can't
/// be read costs the history, not the diagnosis. `except` is the failure itself.
pub(crate) fn look_up(
    store: &Store,
    diagnosis: &mut Diagnosis,
    except: Option<&ExperimentId>,
    runtime: &Runtime,
) -> Option<u64> {
    let cause = coroner_store::cause_text(diagnosis);
    let found = runtime.block_on(store.similar(&diagnosis.signature, &cause, except, MOST));
    diagnosis.similar = found.unwrap_or_default().into_iter().map(Into::into).collect();
    runtime.block_on(store.signature_stats(&diagnosis.signature)).ok().flatten().map(|stats| stats.count)
}

impl From<coroner_store::Error> for Failed {
    fn from(error: coroner_store::Error) -> Self {
        if error.is_store_failure() { Self::Outside(error.into()) } else { Self::Input(error.into()) }
    }
}
