//! The arguments of the commands about coroner itself: `doctor`, `completions`, `man`.

use std::path::PathBuf;

use clap::Args;

/// Say what is configured, what is reachable and what is in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  everything is in order
  1  something is not; each finding says what to do
  2  wrong use, or a configuration that can't be read

Examples:
  coroner doctor --offline
  coroner doctor --defaults > ~/.config/coroner/config.toml")]
pub(crate) struct DoctorArgs {
    /// Never touch the network.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Read the whole database, to find damage.
    #[arg(long)]
    pub(crate) thorough: bool,
    /// Print the default configuration, which is its manual too, and nothing else.
    #[arg(long, conflicts_with = "offline")]
    pub(crate) defaults: bool,
}

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use

Example:
  coroner completions bash > ~/.local/share/bash-completion/completions/coroner")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write the pages of all commands to a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use, or a folder that can't be written

Example:
  coroner man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write coroner.1, coroner-run.1 and so on here, instead of coroner.1 to standard output.
    pub(crate) dir: Option<PathBuf>,
}
