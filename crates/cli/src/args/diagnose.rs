//! The arguments of the commands that look at logs: `analyze`, `evidence`, `eval`.

use std::path::PathBuf;

use clap::Args;

/// The failure that is looked at.
#[derive(Debug, Args)]
pub(crate) struct FailureArgs {
    /// The log: a file of any size, or `-` for standard input.
    #[arg(value_name = "LOG")]
    pub(crate) log: Option<PathBuf>,
    /// The error message, where there is one beside the log.
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,
    /// The candidate's source file.
    #[arg(long, value_name = "FILE")]
    pub(crate) code: Option<PathBuf>,
    /// The log of a run of the same kind that succeeded; what stands in it too is not the cause. May be repeated.
    #[arg(long, value_name = "LOG")]
    pub(crate) baseline: Vec<PathBuf>,
}

/// Say why a run failed, from its log.
///
/// Without --save nothing is written. Rules are always applied; a language model is asked too when one is
/// configured and --offline is not given, and its answer counts only if what it quotes stands in the log.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  a diagnosis was made
  1  --batch: at least one line can't be read
  2  wrong use, or a log that can't be read
  3  --save: the store failed; the diagnosis is printed all the same

Examples:
  coroner analyze train.log
  coroner analyze - --error 'exit status 1' --code train.py --offline < train.log
  coroner analyze --batch failures.jsonl --format json > diagnoses.jsonl")]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    pub(crate) failure: FailureArgs,
    /// JSON lines in, one diagnosis a line out, in the same order. `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["log", "error", "code", "baseline", "kind", "id", "explain"])]
    pub(crate) batch: Option<PathBuf>,
    /// The kind of experiment.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The experiment's name.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Never touch the network.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Keep experiment and diagnosis in the store.
    #[arg(long)]
    pub(crate) save: bool,
    /// Also show what the signature was made of.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// Print the excerpt that a model would be sent, and nothing else.
///
/// Its lines carry the numbers of the untouched log; what was left out is said; secrets are masked.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use, or a log that can't be read

Example:
  coroner evidence train.log --budget 10000")]
pub(crate) struct EvidenceArgs {
    #[command(flatten)]
    pub(crate) failure: FailureArgs,
    /// At most this many characters. Default: evidence.budget of the configuration, 3000.
    #[arg(long, value_name = "CHARS")]
    pub(crate) budget: Option<usize>,
}

/// Score the rules, and a model if asked to, on a labelled corpus.
///
/// Prints accuracy of category, severity and origin, calibration of confidence, recall of the evidence at
/// its budget, the confusion table and the worst cases.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  scored
  2  wrong use, or a corpus that can't be read

Example:
  coroner eval corpus/dev --worst 20")]
pub(crate) struct EvalArgs {
    /// Folder or JSON-lines file with labelled cases.
    #[arg(required = true, value_name = "CORPUS")]
    pub(crate) corpus: Vec<PathBuf>,
    /// Ask the configured model too. Default: rules only, nothing is sent anywhere.
    #[arg(long)]
    pub(crate) model: bool,
    /// Compare with the logs of runs that succeeded, where the corpus has them.
    #[arg(long)]
    pub(crate) baselines: bool,
    /// Only projects of one half: `even` or `odd`, by a hash of their names. What holds on one half and not on the
    /// other is memory.
    #[arg(long, value_name = "HALF", value_parser = ["even", "odd"])]
    pub(crate) projects: Option<String>,
    /// Show this many of the worst cases.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) worst: usize,
}
