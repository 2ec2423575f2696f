//! The arguments of `coroner rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List, show, check and try the rules.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List every rule that is in force: the built-in ones and those of rules.paths.
    #[command(after_help = "\
Exit status:
  0  done
  2  wrong use, or a rule file that can't be read

Example:
  coroner rules list --category import_error")]
    List {
        /// Only rules of this category.
        #[arg(long, value_parser = super::category())]
        category: Option<coroner_diagnosis::Category>,
    },
    /// Show one rule: what it looks for, what it says, and its examples.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no such rule
  2  wrong use, or a rule file that can't be read

Example:
  coroner rules show cuda.oom")]
    Show {
        /// The rule's id.
        id: String,
    },
    /// Check rule files: that they can be read, and that each rule matches its examples and none of its counter-examples.
    #[command(after_help = "\
Exit status:
  0  every rule is sound
  1  at least one is not; each is named, with file, line and reason
  2  wrong use, or a file that can't be read

Example:
  coroner rules check my-rules.toml")]
    Check {
        /// Rule files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Try rules on the stored failures before saving them: what would change, and from what to what.
    #[command(after_help = "\
Exit status:
  0  nothing would change
  1  at least one stored failure would be judged differently; each is listed
  2  wrong use, or a rule file that can't be read
  3  the store failed

Example:
  coroner rules test my-rules.toml")]
    Test {
        /// A rule file, or the id of a rule in force.
        #[arg(value_name = "FILE|ID")]
        rule: String,
        /// Look at this many of the newest failures.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u32,
    },
}
