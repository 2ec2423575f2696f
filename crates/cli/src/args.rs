//! The command line: every command, what it takes and what its exit statuses mean.

mod alerts;
mod attempt;
mod bench;
mod check;
mod diagnose;
mod evolve;
#[cfg(feature = "aws")]
mod import;
mod lessons;
mod people;
mod records;
mod report;
mod rules;
mod run;
mod serve;
mod store;
mod upkeep;
mod worker;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ColorChoice, Parser, Subcommand, ValueEnum};
use coroner_store::{Sort, Status};

pub(crate) use alerts::{AlertsArgs, AlertsCommand};
pub(crate) use attempt::TestArgs;
#[cfg(feature = "aws")]
pub(crate) use bench::KeysArgs;
pub(crate) use bench::{BenchArgs, BenchCommand, FillArgs};
pub(crate) use check::CheckArgs;
pub(crate) use diagnose::{AnalyzeArgs, EvalArgs, EvidenceArgs, FailureArgs};
pub(crate) use evolve::{EvolveArgs, Who};
#[cfg(feature = "aws")]
pub(crate) use import::ImportArgs;
pub(crate) use lessons::{AdviceArgs, By, Since, StatsArgs};
pub(crate) use people::{TokenArgs, TokenCommand, UserArgs, UserCommand};
pub(crate) use records::{ListArgs, PruneArgs, ShowArgs};
pub(crate) use report::{ReportArgs, ReportCommand};
pub(crate) use rules::{RulesArgs, RulesCommand};
pub(crate) use run::RunArgs;
pub(crate) use serve::{LambdaArgs, ServeArgs};
pub(crate) use store::{StoreArgs, StoreCommand};
pub(crate) use upkeep::{CompletionsArgs, DoctorArgs, ManArgs};
pub(crate) use worker::WorkerArgs;

/// Finds out why an experiment died: what kind of failure, whose fault, how bad, why, and what to change.
#[derive(Debug, Parser)]
#[command(name = "coroner", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Exit status:
  0  done
  1  done, with something to report
  2  wrong use, or input that can't be read
  3  the store or the network failed
  `coroner run` passes on the status of its command; see `coroner run --help`.

Example:
  coroner run -- python train.py")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Where experiments are kept: sqlite:PATH or dynamodb:TABLE. Default: under the user's data folder.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Configuration file. Default: coroner/config.toml under the user's configuration folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Text for people, or JSON for programs.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// When to use colour. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// Leave out notes and progress; results, diagnoses and errors stay.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Report(ReportArgs),
    Analyze(AnalyzeArgs),
    Evidence(EvidenceArgs),
    List(ListArgs),
    Show(ShowArgs),
    Check(CheckArgs),
    Test(TestArgs),
    Evolve(EvolveArgs),
    Worker(WorkerArgs),
    Eval(EvalArgs),
    Rules(RulesArgs),
    Advice(AdviceArgs),
    Stats(StatsArgs),
    Serve(ServeArgs),
    Lambda(LambdaArgs),
    Alerts(AlertsArgs),
    User(UserArgs),
    Token(TokenArgs),
    Doctor(DoctorArgs),
    Bench(BenchArgs),
    Prune(PruneArgs),
    Store(StoreArgs),
    #[cfg(feature = "aws")]
    Import(ImportArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Parses one of the contract's words and lists them in help and completions.
macro_rules! word {
    ($name:ident, $type:ty) => {
        fn $name() -> impl TypedValueParser<Value = $type> {
            PossibleValuesParser::new(<$type>::ALL.iter().map(|word| word.as_str()))
                .try_map(|text| text.parse::<$type>())
        }
    };
}
word!(category, coroner_diagnosis::Category);
word!(severity, coroner_diagnosis::Severity);
word!(origin, coroner_diagnosis::Origin);
word!(role, coroner_store::Role);
word!(scope, coroner_store::TokenScope);
word!(feedback, coroner_store::Feedback);
word!(message_state, coroner_store::MessageState);

fn sort() -> impl TypedValueParser<Value = Sort> {
    PossibleValuesParser::new(Sort::WORDS).try_map(|text| text.parse::<Sort>())
}

fn status() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::all().map(Status::as_str)).try_map(|text| text.parse::<Status>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("coroner").chain(words.split(' ')))
    }

    fn leaves(command: &clap::Command) -> Vec<clap::Command> {
        let inner: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        if inner.is_empty() { vec![command.clone()] } else { inner.into_iter().flat_map(leaves).collect() }
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_its_exit_statuses_and_shows_an_example() {
        let commands = leaves(&Cli::command());
        assert_eq!(
            commands.len(),
            if cfg!(feature = "aws") { 43 } else { 41 },
            "{:?}",
            commands.iter().map(clap::Command::get_name).collect::<Vec<_>>()
        );
        for mut command in commands {
            let help = command.render_long_help().to_string();
            let name = command.get_name().to_owned();
            assert!(help.contains("Exit status:"), "{name}:\n{help}");
            assert!(help.contains("Example"), "{name}:\n{help}");
            assert!(help.contains("  coroner "), "{name}: the example is no command\n{help}");
            assert!(!help.contains('!'), "{name}: calm\n{help}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for words in ["--format json --store sqlite:a.db list", "list --format json --store sqlite:a.db"] {
            let cli = parse(words).unwrap();
            assert_eq!(cli.global.format, Format::Json);
            assert_eq!(cli.global.store.as_deref(), Some("sqlite:a.db"));
        }
    }

    #[test]
    fn what_follows_the_command_of_run_belongs_to_it() {
        for words in ["run --timeout 60s -- python -c x --id 3", "run --timeout 60s python -c x --id 3"] {
            let Command::Run(run) = parse(words).unwrap().command else { panic!("{words}") };
            assert_eq!(run.command, ["python", "-c", "x", "--id", "3"], "{words}");
            assert_eq!(run.timeout, Some(std::time::Duration::from_secs(60)));
            assert_eq!(run.id, None);
        }
    }

    #[test]
    fn wrong_use_is_named() {
        for (words, expected) in [
            ("run", "required"),
            ("run --timeout soon -- true", "`soon` is not a duration"),
            ("run --memory much -- true", "`much` is not a size"),
            ("list --category oops", "syntax_error"),
            ("list --format yaml", "yaml"),
            ("analyse x.log", "analyze"),
            ("analyze a.log --batch b.jsonl", "--batch"),
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
            assert!(error.to_string().contains(expected), "{words}: {error}");
        }
    }
}
