//! `coroner completions` and `coroner man`: made from the same definitions as `--help`.

use anyhow::Context as _;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::context::{Context, DONE, Failed};

pub(crate) fn completions(args: &CompletionsArgs, context: &Context) -> Result<u8, Failed> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "coroner", &mut script);
    context.print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}

pub(crate) fn man(args: &ManArgs, context: &Context) -> Result<u8, Failed> {
    match &args.dir {
        Some(dir) => clap_mangen::generate_to(Cli::command(), dir)
            .with_context(|| format!("can't write the manual pages to {}", dir.display()))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).context("can't make the manual page")?;
            context.print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(DONE)
}
