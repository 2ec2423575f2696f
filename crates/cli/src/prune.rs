//! `coroner prune`: forgets what the retention settings no longer keep.

use std::sync::Arc;

use coroner_store::{Pruned, Retention, Store};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::context::{Context, Failed};

/// Applies the configured retention.
pub(crate) fn prune(store: &Store, context: &Context, runtime: &Arc<Runtime>) -> Result<Pruned, Failed> {
    Ok(runtime.block_on(store.prune(retention(context), Timestamp::now()))?)
}

fn retention(context: &Context) -> Retention {
    let settings = &context.config.retention;
    Retention {
        max_age: Some(settings.experiments),
        max_log_age: Some(settings.logs),
        max_log_bytes: Some(settings.log_bytes),
        max_reply_age: Some(settings.experiments),
        ..Retention::default()
    }
}
