//! `coroner store copy` and `coroner store migrate`.

use anyhow::anyhow;
use coroner_store::{Copied, CopyProgress, CopyStep, LOCK_WAIT, Location, Store};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{open_at, remote};
use crate::args::Format;
use crate::context::{Context, DONE, Failed, REPORTED};
use crate::quantities::{counted, thousands};

#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    /// Everything that is copied at all is in both.
    whole: bool,
    #[serde(flatten)]
    copied: &'a Copied,
}

pub(super) fn copy(from: &str, to: &str, context: &Context) -> Result<u8, Failed> {
    let (source, target): (Location, Location) = (from.parse()?, to.parse()?);
    if same(&source, &target) {
        return Err(Failed::Input(anyhow!("{from} and {to} are the same store")));
    }
    // what is only read is not brought up to date either
    if let Location::Sqlite(path) = &source {
        match coroner_store::schema_of(path)? {
            None => return Err(Failed::Input(anyhow!("there is no store {from}"))),
            Some(found) if found < coroner_store::SCHEMA => {
                return Err(Failed::Input(anyhow!(
                    "{from} has schema {found}, and this release copies schema {}: bring it up to date with `coroner --store {from} \
                     store migrate`",
                    coroner_store::SCHEMA
                )));
            }
            Some(_) => {}
        }
    }
    if let Location::Sqlite(path) = &target
        && coroner_store::schema_of(path)?.is_none()
    {
        return Err(Failed::Input(anyhow!(
            "there is no store {to} yet: make it with `coroner --store {to} store init`"
        )));
    }
    let runtime = crate::analyst::runtime()?;
    let copied = runtime.block_on(async {
        let from = open_at(context, from, LOCK_WAIT).await?;
        let to = open_at(context, to, LOCK_WAIT).await?;
        let bar = context.progress(None, "{msg} {bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left");
        let copied = from.copy_into(&to, &|progress| shown(&bar, progress)).await;
        bar.finish_and_clear();
        for store in [from, to] {
            store.close().await?;
        }
        copied
    })?;
    let whole = copied.is_whole();
    match context.format {
        Format::Json => context.print_json(&Report { from, to, whole, copied: &copied })?,
        Format::Text => context.print(&page(from, to, &copied))?,
    }
    Ok(if whole { DONE } else { REPORTED })
}

fn same(a: &Location, b: &Location) -> bool {
    match (a, b) {
        (Location::Sqlite(a), Location::Sqlite(b)) => {
            a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        _ => a == b,
    }
}

fn shown(bar: &ProgressBar, progress: CopyProgress) {
    let doing = match progress.step {
        CopyStep::Comparing => "comparing",
        CopyStep::Copying => "copying",
        CopyStep::Counting => "counting",
    };
    if bar.message() != doing {
        bar.set_message(doing);
        bar.reset();
    }
    bar.set_length(progress.of);
    bar.set_position(progress.done);
}

fn page(from: &str, to: &str, copied: &Copied) -> String {
    let mut text = format!(
        "{from} -> {to}: {} copied, {} there already\n",
        counted(copied.copied, "experiment", "experiments"),
        thousands(copied.known)
    );
    for (what, both) in copied.counts() {
        let (from, to) = (thousands(both.from), thousands(both.to));
        let note = if both.from == both.to { "" } else { "  not all" };
        text.push_str(&format!("  {what:<12} {from:>12} {to:>12}{note}\n"));
    }
    if copied.running > 0 {
        text.push_str(&format!(
            "{} still run and were left out: say it again when they have ended\n",
            thousands(copied.running)
        ));
    }
    if let Some(why) = &copied.why_missing {
        let logs = counted(copied.logs_missing, "log is", "logs are");
        text.push_str(&format!("{logs} missing; each experiment notes why, such as: {why}\n"));
    }
    if copied.counts().iter().any(|(_, both)| both.from != both.to) {
        text.push_str("something was written or removed meanwhile: say it again\n");
    }
    text
}

#[derive(Serialize)]
struct Migrated {
    store: String,
    /// The form that it had.
    from: i64,
    /// The form that it has.
    to: i64,
}

pub(super) fn migrate(context: &Context) -> Result<u8, Failed> {
    let url = context.store_url();
    let runtime = crate::analyst::runtime()?;
    let (from, to) = match url.parse()? {
        Location::Sqlite(path) => {
            let Some(from) = coroner_store::schema_of(&path)? else {
                return Err(Failed::Input(anyhow!("there is no store {url}")));
            };
            let store = runtime.block_on(Store::open(&url))?;
            runtime.block_on(store.close())?;
            (from, coroner_store::SCHEMA)
        }
        Location::DynamoDb(table) => {
            let form = runtime.block_on(remote::form(context, &table))?;
            (form, form)
        }
    };
    match context.format {
        Format::Json => context.print_json(&Migrated { store: url, from, to })?,
        Format::Text if from == to => {
            context.print(&format!("{url} has the newest form ({to}): nothing to do\n"))?;
        }
        Format::Text => context.print(&format!("{url} had form {from} and has form {to} now\n"))?,
    }
    Ok(DONE)
}
