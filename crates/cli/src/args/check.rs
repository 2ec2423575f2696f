//! The arguments of `coroner check`.

use std::path::PathBuf;

use clap::Args;
use coroner_lab::screen::PythonVersion;

/// Look at a candidate before it runs: can it be parsed, and does it keep to the policy.
///
/// Nothing is run. Names are judged by what they resolve to: eval(...) is refused, model.eval() is not. Each
/// refusal says which rule of the policy made it and why, and whether the policy itself looks to be at fault.
/// Screening is advice; what protects the machine is the sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  nothing refuses it
  1  something does; each refusal is printed
  2  wrong use, or a candidate or policy that can't be read

Examples:
  coroner check candidate.py
  coroner check - --policy policy.toml --format json < candidate.py
  coroner check candidate.py --task examples/bare/task.toml
  coroner check --show-policy > policy.toml")]
pub(crate) struct CheckArgs {
    /// The candidate's source file, or `-` for standard input.
    #[arg(value_name = "CANDIDATE", required_unless_present = "show_policy")]
    pub(crate) candidate: Option<PathBuf>,
    /// The policy. Default: the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The task that the candidate is for: its policy counts, and its entry points must be there.
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    pub(crate) task: Option<PathBuf>,
    /// The version of Python that the candidate is for. Default: that of `python3` here, or 3.11.
    #[arg(long, value_name = "VERSION")]
    pub(crate) python: Option<PythonVersion>,
    /// Print the policy in force, with its reasons, and nothing else.
    #[arg(long, conflicts_with_all = ["candidate", "python"])]
    pub(crate) show_policy: bool,
}
