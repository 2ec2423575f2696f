//! What doctor looks at, one function each.

use std::sync::Arc;

use coroner_diagnosis::{bytes, seconds};
use coroner_lab::sandbox::{Level, Sandbox};
use coroner_llm::{KeyState, Probe};
use coroner_store::{Health, Store};
use tokio::runtime::Runtime;

use super::{Check, State};
use crate::config::{Ask, Provider};
use crate::context::Context;
use crate::kept;
use crate::quantities::counted;

/// The file, and what counts over it.
pub(super) fn configuration(context: &Context) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut detail = match (&context.config_error, &context.config_file) {
        (Some(error), _) => {
            checks.push(Check {
                advice: Some("until then the defaults are looked at below; `coroner doctor --defaults` prints every key".to_owned()),
                ..Check::problem("configuration", error)
            });
            return checks;
        }
        (None, Some(file)) => file.display().to_string(),
        (None, None) => {
            let usual = context.env.config_home().map(|home| home.join("coroner/config.toml"));
            let usual = usual.map(|path| format!("; {} is not there", path.display())).unwrap_or_default();
            format!("the defaults{usual}")
        }
    };
    if !context.variables.is_empty() {
        detail.push_str(&format!("; {} count over it", context.variables.join(", ")));
    }
    checks.push(Check::ok("configuration", detail));
    checks.extend(
        context
            .notes
            .iter()
            .map(|note| Check::note("configuration", note, "look for a typing error, or unset it")),
    );
    checks
}

/// Where traces of the desk go; nothing is said where none are wanted.
pub(super) fn traces(context: &Context, offline: bool) -> Option<Check> {
    let endpoint = match crate::traces::wanted(context) {
        Ok(endpoint) => endpoint?,
        Err(why) => return Some(Check::problem("traces", why)),
    };
    let to = format!("`coroner serve` sends them to {}", endpoint.place());
    if offline {
        return Some(Check::ok("traces", format!("{to}; not looked at, because --offline was given")));
    }
    Some(match endpoint.reach() {
        Ok(()) => Check::ok("traces", format!("{to}, where somebody listens")),
        Err(why) => Check {
            advice: Some("start the collector, or change telemetry.endpoint; until then traces are lost, and nothing else is".to_owned()),
            ..Check::problem("traces", format!("{to}, where nobody can be reached: {why}"))
        },
    })
}

/// Is it there, does it take what we write, is it sound?
pub(super) fn store(
    context: &Context,
    thorough: bool,
    runtime: &Arc<Runtime>,
) -> (Option<Store>, Vec<Check>) {
    let url = context.store_url();
    match kept::open(context, runtime) {
        Err(error) => (None, vec![Check::problem("store", error.to_string())]),
        Ok(None) => match writable(&url) {
            Ok(()) => (None, vec![Check::ok("store", format!("{url}, made when the first run is kept"))]),
            Err(why) => (None, vec![Check::problem("store", format!("{url} can't be made: {why}"))]),
        },
        Ok(Some(store)) => {
            let checks = match runtime.block_on(store.health(thorough)) {
                Ok(health) => {
                    let mut checks = health_checks(&health, &url, thorough);
                    checks.extend(large_logs(context, &url, &health));
                    checks
                }
                Err(error) => vec![Check::problem("store", error.to_string())],
            };
            (Some(store), checks)
        }
    }
}

fn health_checks(health: &Health, url: &str, thorough: bool) -> Vec<Check> {
    // of a table nobody says it
    let database = match url.starts_with("dynamodb:") {
        true => String::new(),
        false => format!("{} and ", bytes(health.database_bytes)),
    };
    let detail = format!(
        "{url}: {}, {} running; {database}{} of logs{}",
        counted(health.experiments, "experiment", "experiments"),
        health.running,
        bytes(health.log_bytes),
        if thorough && health.problems.is_empty() { "; no damage found" } else { "" },
    );
    let mut checks = vec![Check::ok("store", detail)];
    checks.extend(health.problems.iter().map(|problem| Check::problem("store", problem)));
    // reading works; so that the next run can be kept, writing has to
    if let Err(why) = writable(url) {
        checks.push(Check::problem("store", format!("it can't be written: {why}")));
    }
    checks
}

/// Where large logs of a table go, and whether they can.
fn large_logs(context: &Context, url: &str, health: &Health) -> Option<Check> {
    if !url.starts_with("dynamodb:") {
        let unused = crate::storage::unused_logs(context)?;
        return Some(Check::note("logs", unused, "unset it (CORONER_LOGS), or name a table as the store"));
    }
    Some(match (&context.config.logs, &health.logs) {
        (Some(place), Some(why)) => Check {
            advice: Some("until then, large logs stay on the host that wrote them".to_owned()),
            ..Check::problem("logs", format!("large ones should go to {place}: {why}"))
        },
        (Some(place), None) => Check::ok("logs", format!("large ones go to {place}")),
        (None, _) => Check::note(
            "logs",
            "large ones stay on this host",
            "logs = \"s3://BUCKET/PREFIX\" (CORONER_LOGS) has all hosts read them",
        ),
    })
}

/// Can a file be made beside the database, as SQLite does with each write?
fn writable(url: &str) -> Result<(), String> {
    // whether a table may be written is known when something is
    let Some(path) = url.strip_prefix("sqlite:").map(std::path::Path::new) else { return Ok(()) };
    takes_files(path.parent().unwrap_or(path))
}

/// Can a file be made in this folder, or if it is not there, can the folder?
pub(super) fn takes_files(folder: &std::path::Path) -> Result<(), String> {
    // the folder that is there, of those that would be made
    let folder = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    match tempfile::tempfile_in(folder).and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
    {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    }
}

pub(super) fn rules(context: &Context) -> Vec<Check> {
    let own = &context.config.rules.paths;
    match crate::analyst::rules(context) {
        Ok(rules) => {
            let ours = rules.rules().iter().filter(|rule| !rule.own).count();
            let theirs = rules.rules().len() - ours;
            let theirs = match own.len() {
                0 => String::new(),
                files => format!(
                    ", and {theirs} of your own from {}",
                    counted(files as u64, "file", "files")
                ),
            };
            vec![Check::ok("rules", format!("{ours} built in{theirs}"))]
        }
        Err(error) => vec![Check {
            advice: Some("until then `coroner run` uses the built-in rules only; `coroner rules check FILE` shows each fault".to_owned()),
            ..Check::problem("rules", error.to_string())
        }],
    }
}

/// Whom we would ask, with what, and whether that works.
pub(super) fn model(
    context: &Context,
    store: Option<&Store>,
    offline: bool,
    runtime: &Runtime,
) -> Vec<Check> {
    let wanted = &context.config.model;
    if wanted.ask == Ask::Never {
        return vec![Check::note(
            "model",
            "never asked",
            "model.ask is never; the rules' verdict stands alone",
        )];
    }
    if wanted.provider == Provider::None {
        return vec![Check::note("model", "none", "model.provider is none; the rules' verdict stands alone")];
    }
    let asker = match crate::analyst::asker(context, store, runtime) {
        Err(error) => return vec![Check::problem("model", error.to_string())],
        Ok(None) => {
            return vec![Check::note(
                "model",
                "there is no key, so nobody is asked and nothing is sent",
                "set ANTHROPIC_API_KEY, or model.key_file, model.key_keyring or model.key_secret; or name a model on AWS (model.provider = \"bedrock\", model.name) or a local one (\"openai\", model.base_url, model.name)",
            )];
        }
        Ok(Some(asker)) => asker,
    };
    let mut checks = Vec::new();
    if offline {
        checks.push(Check::ok("model", "configured; not looked at, because --offline was given"));
    } else {
        checks.append(&mut probed(&runtime.block_on(asker.probe())));
    }
    if let Ok(spent) = runtime.block_on(asker.spent_today()) {
        let calls = wanted.calls_per_day.0.map_or_else(|| "any number".to_owned(), |calls| calls.to_string());
        let dollars = if wanted.dollars_per_day.is_finite() {
            format!("${:.2}", wanted.dollars_per_day)
        } else {
            "any amount".to_owned()
        };
        let when = match wanted.ask {
            Ask::Always => "about every failure",
            Ask::Unexplained => "about what no rule explains",
            Ask::Never => "never",
        };
        checks.push(Check::ok(
            "budget",
            format!(
                "asked {when}, up to {} each; today {} of {calls} calls and ${:.4} of {dollars}",
                seconds(wanted.timeout),
                spent.calls,
                spent.dollars
            ),
        ));
    }
    checks
}

fn probed(probe: &Probe) -> Vec<Check> {
    let mut checks = Vec::new();
    let who = format!("{} by {} at {}", probe.model, probe.provider, probe.endpoint);
    match &probe.failure {
        Some(failure) => checks.push(Check::problem("model", format!("{who}: {}", failure.detail))),
        None => {
            let key = match probe.key {
                KeyState::NotNeeded => ", no key needed",
                KeyState::Accepted => ", key accepted",
                KeyState::Missing | KeyState::Refused | KeyState::Unchecked => "",
            };
            let price = match probe.price {
                Some(price) => format!(", ${} and ${} per million tokens", price.input, price.output),
                None => ", price not known (model.prices)".to_owned(),
            };
            checks.push(Check::ok("model", format!("{who}{key}{price}")));
        }
    }
    checks.extend(probe.warnings.iter().map(|warning| Check {
        name: "model",
        state: State::Note,
        detail: warning.clone(),
        advice: None,
    }));
    checks
}

/// What this machine lets `coroner run` see and do.
pub(super) fn run(context: &Context) -> Vec<Check> {
    let settings = &context.config.run;
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
    let mut checks = vec![Check::ok(
        "run",
        format!(
            "time limit {}, memory limit {}, {} to end, {} of log kept",
            limit(settings.timeout.map(seconds)),
            limit(settings.memory.map(bytes)),
            seconds(settings.grace),
            bytes(settings.log_limit)
        ),
    )];
    checks.push(match crate::run::oom_counter() {
        Some(path) => {
            Check::ok("out of memory", format!("the kernel's kills are counted by {}", path.display()))
        }
        None => Check::note(
            "out of memory",
            "the kernel's kills can't be read here",
            "a command that it kills is reported as killed by SIGKILL",
        ),
    });
    checks
}

/// What a self-test shows: how well a command can be kept from the machine, and what to do for more.
pub(super) fn sandbox(context: &Context) -> Vec<Check> {
    let wanted = context.config.sandbox.level;
    let helper = match crate::run::confined::helper() {
        Ok(helper) => helper,
        Err(error) => {
            return vec![Check::problem("sandbox", format!("our own binary can't be found: {error}"))];
        }
    };
    let sandbox = Sandbox::probe(&helper);
    let more = (!sandbox.missing().is_empty()).then(|| sandbox.missing().join("; "));
    if let Err(error) = sandbox.require(wanted) {
        return vec![Check {
            advice: more,
            ..Check::problem("sandbox", format!("`coroner run --sandbox` runs nothing here: {error}"))
        }];
    }
    let layers = sandbox.layers().layers.iter().map(|(name, detail)| format!("{name}: {detail}"));
    let layers = layers.collect::<Vec<_>>().join("; ");
    let detail = format!("level {} by self-test ({wanted} is asked for); {layers}", sandbox.level());
    let state = if sandbox.level() <= Level::B { State::Ok } else { State::Note };
    let mut checks = vec![Check { name: "sandbox", state, detail, advice: more }];
    let unprotected = &sandbox.layers().unprotected;
    checks.extend(unprotected.iter().map(|sentence| Check {
        name: "sandbox",
        state: State::Note,
        detail: sentence.clone(),
        advice: None,
    }));
    checks
}

pub(super) fn terminal(context: &Context) -> Check {
    let face = context.out();
    let yes = |yes: bool, what: &str| if yes { what.to_owned() } else { format!("no {what}") };
    Check::ok(
        "output",
        format!("{} columns, {}, {}", face.width, yes(face.unicode, "Unicode"), yes(face.colour, "colour")),
    )
}
