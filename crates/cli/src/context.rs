//! What every command is given, how it speaks, and how it ends.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ColorChoice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::{Format, GlobalArgs};
use crate::config::{self, Config, ConfigError, Loaded};
use crate::environment::Environment;
use crate::printable::printable_json;
use crate::terminal::Face;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Done, with something to report.
pub(crate) const REPORTED: u8 = 1;

/// How often a wheel turns.
const TICK: Duration = Duration::from_millis(120);

/// The environment, the configuration, and where and how to speak.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) env: Environment,
    pub(crate) config: Config,
    /// The configuration file that was read.
    pub(crate) config_file: Option<PathBuf>,
    /// Why the configuration does not count, if it can't be read.
    pub(crate) config_error: Option<String>,
    /// The variables that count over it.
    pub(crate) variables: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) format: Format,
    quiet: bool,
    colour: ColorChoice,
}

/// Why a command could not do its work. `coroner run` never fails so once its command has started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Wrong use, or input that can't be read.
    #[error("{0:#}")]
    Input(anyhow::Error),
    /// The store or the network.
    #[error("{0:#}")]
    Outside(anyhow::Error),
    /// Nobody reads what we print: not worth a word.
    #[error("standard output was closed")]
    NobodyReads,
}

impl Failed {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::NobodyReads => DONE,
            Self::Input(_) => 2,
            Self::Outside(_) => 3,
        }
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Input(error)
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::Input(error.into())
    }
}

impl Context {
    pub(crate) fn new(global: &GlobalArgs, env: Environment) -> Result<Self, Failed> {
        let loaded = config::load(&env, global.config.as_deref(), global.store.as_deref())?;
        let context = Self::over(global, env, loaded);
        for note in &context.notes {
            context.note(note);
        }
        Ok(context)
    }

    /// With the defaults, for what works without a configuration.
    pub(crate) fn with_defaults(global: &GlobalArgs, env: Environment, error: String) -> Self {
        let mut loaded = config::defaults();
        // which store is meant is known all the same
        let store = global.store.clone().or_else(|| env.text("CORONER_STORE").map(str::to_owned));
        loaded.config.store = store;
        Self { config_error: Some(error), ..Self::over(global, env, loaded) }
    }

    fn over(global: &GlobalArgs, env: Environment, loaded: Loaded) -> Self {
        Self {
            env,
            config: loaded.config,
            config_file: loaded.file,
            config_error: None,
            variables: loaded.variables,
            notes: loaded.notes,
            format: global.format,
            quiet: global.quiet,
            colour: global.color,
        }
    }

    /// How to write to standard output.
    pub(crate) fn out(&self) -> Face {
        Face::of(&io::stdout(), &self.env, self.colour)
    }

    /// How to write to standard error.
    pub(crate) fn err(&self) -> Face {
        Face::of(&io::stderr(), &self.env, self.colour)
    }

    /// Writes a result to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failed> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failed::NobodyReads,
            _ => Failed::Input(anyhow::Error::new(error).context("can't write to standard output")),
        })
    }

    /// Writes a result to standard output as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), Failed> {
        let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        self.print(&(printable_json(&text) + "\n"))
    }

    /// Were notes and progress switched off?
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Shows on standard error how far something is, if anybody looks there. The template is indicatif's.
    pub(crate) fn progress(&self, of: Option<u64>, template: &str) -> ProgressBar {
        let shown = io::stderr().is_terminal() && !self.quiet;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(of, target);
        let style = ProgressStyle::with_template(template);
        debug_assert!(style.is_ok(), "{template}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        // a wheel turns while nothing else is to be said
        if shown && template.contains("{spinner}") {
            bar.enable_steady_tick(TICK);
        }
        bar
    }

    /// Where experiments are kept.
    pub(crate) fn store_url(&self) -> String {
        match &self.config.store {
            Some(url) => url.clone(),
            None => {
                let folder = self.env.data_home().unwrap_or_else(|| PathBuf::from("."));
                format!("sqlite:{}", folder.join("coroner/coroner.db").display())
            }
        }
    }

    /// Says something on the side, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }
}

/// Writes a line to standard error. If that is closed too, there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    _ = writeln!(io::stderr(), "coroner: {text}");
}
