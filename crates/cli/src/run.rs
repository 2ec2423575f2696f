//! `coroner run`: runs a command as if we were not there; if it fails, says why.

mod log;
mod memory;
mod pty;
mod pump;
mod signals;
mod start;
mod supervise;
mod tree;

use anyhow::Context as _;

use crate::args::RunArgs;
use crate::context::{Context, Failed};
use supervise::{Spec, supervise};

pub(crate) fn run(args: &RunArgs, context: &Context) -> Result<u8, Failed> {
    let settings = &context.config.run;
    let spec = Spec {
        command: &args.command,
        path: context.env.get("PATH"),
        timeout: args.timeout.or(settings.timeout),
        memory: args.memory.or(settings.memory),
        grace: settings.grace,
        log_limit: settings.log_limit,
    };
    let log = tempfile::tempfile().context("can't keep a log")?;
    let outcome = supervise(&spec, log).context("can't watch a command")?;
    if outcome.interrupted {
        _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
    }
    Ok(u8::try_from(outcome.status).unwrap_or(1))
}
