//! Runs a program in the sandbox once for each line that it reads, and prints the milliseconds that it took: what
//! `scripts/bench-sandbox` asks. Arguments: the binary `coroner`, the Python.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use coroner_lab::sandbox::{Level, Limits, Plan, Sandbox, Stop};

/// What the lab gives a candidate.
const ENVIRONMENT: [(&str, &str); 4] =
    [("HOME", "{root}/work"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin"), ("TMPDIR", "{root}/work")];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [coroner, python] = words.as_slice() else { return Err("two arguments are needed".into()) };
    let sandbox = Sandbox::probe(Path::new(coroner));
    sandbox.require(Level::B)?;
    for line in std::io::stdin().lines() {
        line?;
        let plan = Plan {
            command: [python, "-I", "-c", "pass"].into_iter().map(Into::into).collect(),
            env: ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cwd: "{root}/work".into(),
            shown: Vec::new(),
            channels: Vec::new(),
            forks: false,
            limits: Limits::default(),
            at_least: Level::B,
        };
        let begun = Instant::now();
        let report = sandbox.run(plan, &Stop::new(), &mut std::io::sink())?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if !report.exit.succeeded() {
            return Err(format!("it ended with {}", report.exit.end).into());
        }
        println!("{took:.3}");
    }
    Ok(())
}
