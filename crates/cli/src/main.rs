//! The binary `coroner`.

mod args;
mod card;
mod config;
mod environment;
mod printable;
mod quantities;
mod terminal;

use clap::Parser;

fn main() {
    let cli = args::Cli::parse();
    let env = environment::Environment::of_this_process();
    let loaded = config::load(&env, cli.global.config.as_deref(), cli.global.store.as_deref());
    drop(loaded);
}
