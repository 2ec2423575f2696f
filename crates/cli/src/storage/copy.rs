//! `coroner store copy` and `coroner store migrate`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use coroner_store::{Copied, CopyProgress, CopyStep, Error, LOCK_WAIT, Location, Store, TableTrouble};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{open_at, remote};
use crate::args::Format;
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::quantities::{counted, thousands};

/// As a shell has it of a command that SIGINT ended.
const INTERRUPTED: u8 = 130;
/// Where nobody sees a bar.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

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
        let from = open_at(context, from, LOCK_WAIT).await.map_err(no_such)?;
        let to = open_at(context, to, LOCK_WAIT).await.map_err(no_such)?;
        let far = Far::new(context, NOW_AND_THEN);
        let show = |progress| far.show(progress);
        let copied = tokio::select! {
            copied = from.copy_into(&to, &show) => Some(copied),
            Ok(()) = tokio::signal::ctrl_c() => None,
        };
        far.bar.finish_and_clear();
        for store in [from, to] {
            store.close().await?;
        }
        Ok::<_, Failed>(copied.transpose()?)
    })?;
    let Some(copied) = copied else {
        complain(&format!(
            "broken off: what has been copied stays; to go on, say it again: coroner store copy {from} {to}"
        ));
        _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
        return Ok(INTERRUPTED);
    };
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

/// Like a file that is not there, a table that is not there is wrong use.
fn no_such(error: Error) -> Failed {
    match error {
        Error::Table { trouble: TableTrouble::Missing { .. }, .. } => Failed::Input(error.into()),
        error => error.into(),
    }
}

/// How far it is: a bar, or where nobody sees one, a line now and then.
struct Far<'a> {
    context: &'a Context,
    bar: ProgressBar,
    every: Duration,
    said: Mutex<Instant>,
}

impl<'a> Far<'a> {
    fn new(context: &'a Context, every: Duration) -> Self {
        let bar = context
            .progress(None, "{spinner} {msg} {bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left")
            .with_message("reading");
        Self { context, bar, every, said: Mutex::new(Instant::now()) }
    }

    fn show(&self, progress: CopyProgress) {
        if let Some(line) = self.line(progress) {
            self.context.note(&line);
        }
    }

    /// What is to be said, if it is.
    fn line(&self, progress: CopyProgress) -> Option<String> {
        let doing = match progress.step {
            CopyStep::Comparing => "comparing",
            CopyStep::Copying => "copying",
            CopyStep::Counting => "counting",
        };
        if self.bar.message() != doing {
            self.bar.set_message(doing);
            self.bar.reset();
        }
        self.bar.set_length(progress.of);
        self.bar.set_position(progress.done);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.bar.is_hidden() || said.elapsed() < self.every {
            return None;
        }
        *said = Instant::now();
        let (done, of) = (thousands(progress.done), thousands(progress.of));
        Some(format!("{doing}: {done} of {of} experiments"))
    }
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
    if copied.logs_later > 0 {
        let logs = counted(copied.logs_later, "log was", "logs were");
        text.push_str(&format!("{logs} not to be had before, and came now\n"));
    }
    let differs = |(what, both): (&str, coroner_store::Both)| {
        both.from != both.to && (what != "logs" || copied.logs_missing == 0)
    };
    if copied.counts().into_iter().any(differs) {
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
            let form = runtime.block_on(remote::form(context, &table)).map_err(no_such)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_now_and_then_where_nobody_sees_a_bar() {
        let global = crate::args::GlobalArgs {
            store: None,
            config: None,
            format: Format::Text,
            color: clap::ColorChoice::Never,
            quiet: true,
        };
        let context =
            Context::with_defaults(&global, crate::environment::Environment::default(), String::new());
        let at = |done| CopyProgress { step: CopyStep::Copying, done, of: 2200 };
        let often = Far::new(&context, Duration::ZERO);
        assert_eq!(often.line(at(1200)).as_deref(), Some("copying: 1,200 of 2,200 experiments"));
        assert_eq!(
            often.line(CopyProgress { step: CopyStep::Counting, ..at(3) }).as_deref(),
            Some("counting: 3 of 2,200 experiments")
        );
        assert_eq!(Far::new(&context, Duration::from_secs(3600)).line(at(1)), None);
    }
}
