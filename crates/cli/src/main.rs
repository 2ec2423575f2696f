//! The binary `coroner`.

mod analyst;
mod analyze;
mod args;
mod card;
mod config;
mod context;
mod environment;
mod eval;
mod history;
mod printable;
mod prune;
mod quantities;
mod rulebook;
mod run;
mod source;
mod terminal;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use context::{Context, Failed, complain};

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let context = Context::new(&global, environment::Environment::of_this_process());
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
        Command::Analyze(args) => analyze::analyze(context, args),
        Command::Evidence(args) => analyze::evidence(context, args),
        Command::Eval(args) => eval::eval(context, args),
        Command::Rules(args) => rulebook::rules_command(context, args),
        _ => Ok(2),
    }
}
