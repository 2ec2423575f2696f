//! The binary `coroner`.

mod advice;
mod alerts;
mod analyst;
mod analyze;
mod args;
mod attempt;
mod bench;
mod card;
mod check;
mod config;
mod context;
mod doctor;
mod environment;
mod eval;
mod evolve;
mod history;
#[cfg(feature = "aws")]
mod import;
mod kept;
mod lambda;
mod list;
mod manual;
mod people;
mod printable;
mod prune;
mod quantities;
mod report;
mod rulebook;
mod run;
mod serve;
mod show;
mod source;
mod stats;
mod storage;
mod terminal;
mod traces;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use context::{Context, Failed, complain};

fn main() -> ExitCode {
    // before anything that takes time: a sandbox starts this binary as the parent of what it runs
    if let Some(status) = coroner_lab::sandbox::take_over() {
        return status;
    }
    let Cli { global, command } = Cli::parse();
    let env = environment::Environment::of_this_process();
    let context = match Context::new(&global, env.clone()) {
        // what tells about coroner itself works whatever the configuration holds
        Err(error) if matches!(command, Command::Doctor(_) | Command::Completions(_) | Command::Man(_)) => {
            Ok(Context::with_defaults(&global, env, error.to_string()))
        }
        other => other,
    };
    match context.and_then(|context| dispatch(&command, &context)) {
        Ok(status) => ExitCode::from(status),
        Err(failed) => {
            if !matches!(failed, Failed::NobodyReads) {
                complain(&failed.to_string());
            }
            ExitCode::from(failed.status())
        }
    }
}

fn dispatch(command: &Command, context: &Context) -> Result<u8, Failed> {
    match command {
        Command::Run(args) => run::run(args, context),
        Command::Report(args) => report::command(args, context),
        Command::Analyze(args) => analyze::analyze(context, args),
        Command::Evidence(args) => analyze::evidence(context, args),
        Command::Test(args) => attempt::test(args, context),
        Command::Check(args) => check::check(context, args),
        Command::Evolve(args) => evolve::evolve(args, context),
        Command::Worker(args) => evolve::worker(args, context),
        Command::Eval(args) => eval::eval(context, args),
        Command::Rules(args) => rulebook::rules_command(context, args),
        Command::Advice(args) => advice::advice(args, context),
        Command::Stats(args) => stats::stats(args, context),
        Command::List(args) => list::list(args, context),
        Command::Show(args) => show::show(args, context),
        Command::Prune(args) => prune::command(args, context),
        Command::Store(args) => storage::command(args, context),
        #[cfg(feature = "aws")]
        Command::Import(args) => import::import(args, context),
        Command::Serve(args) => serve::serve(args, context),
        Command::Lambda(_) => lambda::lambda(context),
        Command::Alerts(args) => alerts::command(args, context),
        Command::User(args) => people::user(args, context),
        Command::Token(args) => people::token(args, context),
        Command::Doctor(args) => doctor::doctor(args, context),
        Command::Bench(args) => bench::bench(args, context),
        Command::Completions(args) => manual::completions(args, context),
        Command::Man(args) => manual::man(args, context),
    }
}
