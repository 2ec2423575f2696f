//! `coroner prune`: forgets what the retention settings no longer keep.

use std::sync::Arc;

use coroner_diagnosis::bytes;
use coroner_store::{Pruned, Retention, Store};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::args::{Format, PruneArgs};
use crate::context::{Context, DONE, Failed, complain};
use crate::kept;
use crate::quantities::counted;

pub(crate) fn command(args: &PruneArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let pruned = match kept::open(context, &runtime)? {
        Some(store) => {
            let mut wanted = retention(context);
            wanted.max_age = args.older_than.or(wanted.max_age);
            wanted.max_log_age = args.logs_older_than.or(wanted.max_log_age);
            let bar =
                context.progress(None, "{spinner} {msg}").with_message("removing what is no longer kept");
            let pruned = runtime.block_on(store.prune(wanted, Timestamp::now()));
            bar.finish_and_clear();
            pruned?
        }
        None => Pruned::default(),
    };
    for problem in &pruned.problems {
        complain(problem);
    }
    match context.format {
        Format::Json => context.print_json(&pruned)?,
        Format::Text => context.print(&format!(
            "removed {}, {} ({}), {} and {}\n",
            counted(pruned.experiments, "experiment", "experiments"),
            counted(pruned.logs, "log", "logs"),
            bytes(pruned.log_bytes),
            counted(pruned.replies, "kept reply", "kept replies"),
            counted(pruned.stray_files, "stray file", "stray files"),
        ))?,
    }
    Ok(DONE)
}

/// Applies the configured retention.
pub(crate) fn prune(store: &Store, context: &Context, runtime: &Arc<Runtime>) -> Result<Pruned, Failed> {
    Ok(runtime.block_on(store.prune(retention(context), Timestamp::now()))?)
}

pub(crate) fn retention(context: &Context) -> Retention {
    let settings = &context.config.retention;
    Retention {
        max_age: Some(settings.experiments),
        max_log_age: Some(settings.logs),
        max_log_bytes: Some(settings.log_bytes),
        max_reply_age: Some(settings.experiments),
        ..Retention::default()
    }
}
