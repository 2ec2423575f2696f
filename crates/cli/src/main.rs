//! The binary `coroner`.

mod args;
mod config;
mod environment;
mod quantities;

use clap::Parser;

fn main() {
    let cli = args::Cli::parse();
    let env = environment::Environment::of_this_process();
    let loaded = config::load(&env, cli.global.config.as_deref(), cli.global.store.as_deref());
    drop(loaded);
}
