//! The arguments of `coroner rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List, show, check and try the rules, and switch them off and on.
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
  3  the store failed

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
  3  the store failed

Example:
  coroner rules show cuda.out-of-memory")]
    Show {
        /// The rule's id.
        id: String,
    },
    /// Switch a rule off: it does not speak any more, for whoever uses this store. What it said before stays.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no such rule, or it was switched off already
  2  wrong use, or a rule file that can't be read
  3  the store failed

Example:
  coroner rules disable cuda.out-of-memory")]
    Disable {
        /// The rule's id.
        id: String,
    },
    /// Switch a rule on again.
    #[command(after_help = "\
Exit status:
  0  done
  1  it was not switched off
  2  wrong use, or a rule file that can't be read
  3  the store failed

Example:
  coroner rules enable cuda.out-of-memory")]
    Enable {
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
