//! Which level this machine gives: found by doing, from the strongest down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cgroup::Parent;
use super::identity::{Identity, bubblewrap};
use super::inner::files;
use super::orders::NAME;
use super::trial::{Bait, WORD};
use super::{Layers, Level, Limits, Plan, Sandbox, SandboxError, Shown, Stop};

/// Where folders for runs are made.
const SCRATCH: &str = "/tmp";

pub(super) fn probe(helper: &Path, strongest: Level) -> Sandbox {
    let identity = Identity::ours();
    let mut sandbox = Sandbox {
        helper: helper.to_owned(),
        scratch: PathBuf::from(SCRATCH),
        identity,
        cgroup: None,
        best: None,
        layers: Layers { level: Level::D, layers: BTreeMap::new(), unprotected: Vec::new() },
        missing: Vec::new(),
    };
    if strongest == Level::A {
        match Parent::find() {
            Ok(parent) => sandbox.cgroup = Some(parent),
            Err(why) => sandbox.missing.push(format!("level A needs a control group: {why}")),
        }
    }
    for level in [Level::A, Level::B, Level::C, Level::D] {
        if level < strongest || (level == Level::A && sandbox.cgroup.is_none()) {
            continue;
        }
        match attempt(&sandbox, level) {
            Ok(layers) => {
                sandbox.best = Some(level);
                sandbox.layers = layers;
                break;
            }
            Err(why) => sandbox.missing.push(format!("level {level}: {why}")),
        }
    }
    if sandbox.best.is_none() {
        sandbox
            .layers
            .unprotected
            .push("Nothing is protected: no level of the sandbox works here.".to_owned());
    }
    sandbox
}

/// Runs the self-test at one level.
fn attempt(sandbox: &Sandbox, level: Level) -> Result<Layers, String> {
    if level <= Level::B && bubblewrap().is_none() {
        return Err("bubblewrap is not installed: apt-get install bubblewrap (or your system's package of that name), or \
                    allow level C"
            .to_owned());
    }
    if level == Level::C && files::version() == 0 {
        return Err("this kernel has no Landlock: it needs Linux 5.13 or newer with `landlock` among the `lsm=` modules, \
                    or allow level D, which does not protect files"
            .to_owned());
    }
    let bait =
        Bait::lay(&sandbox.scratch).map_err(|e| format!("the self-test can't write to {SCRATCH}: {e}"))?;
    let [folder, port] = bait.words();
    let plan = Plan {
        command: vec![format!("{{root}}/{NAME}").into(), WORD.into(), folder, port],
        env: BTreeMap::new(),
        cwd: "{root}/work".into(),
        // where there is a mount namespace it is there anyway
        shown: if level <= Level::B {
            Vec::new()
        } else {
            vec![Shown::Host { from: sandbox.helper.clone(), to: format!("/{NAME}").into() }]
        },
        channels: Vec::new(),
        forks: false,
        limits: Limits { wall: Duration::from_secs(20), ..Limits::default() },
        at_least: level,
    };
    let mut said = Vec::new();
    let trial = Sandbox { layers: layers(sandbox, level), ..sandbox.clone() };
    let report =
        super::confine::confine(&trial, level, plan, &Stop::new(), super::watch::Outputs::Merged(&mut said))
            .map_err(|error| match error {
                SandboxError::Setup { step, reason } => format!("{step}: {reason}"),
                other => other.to_string(),
            })?;
    drop(bait);
    if !report.exit.succeeded() {
        return Err(format!(
            "the self-test ended with {}: {}",
            report.exit.end,
            String::from_utf8_lossy(&said)
        ));
    }
    let said = String::from_utf8_lossy(&said);
    let files = ["read", "write"];
    let broke_out: Vec<&str> =
        said.lines().filter(|did| !(level == Level::D && files.contains(did))).collect();
    if !broke_out.is_empty() {
        return Err(format!("the self-test could still do this: {}", broke_out.join(", ")));
    }
    Ok(report.layers)
}

fn layers(sandbox: &Sandbox, level: Level) -> Layers {
    let mut layers = BTreeMap::new();
    let mut add = |name: &str, text: String| _ = layers.insert(name.to_owned(), text);
    let kernel = rustix::system::uname();
    add("kernel", kernel.release().to_string_lossy().into_owned());
    let root = sandbox.identity != Identity::User;
    add("user", if root { "a user of its own".to_owned() } else { "the user who started it".to_owned() });
    add("seccomp", "listed system calls only; others are refused and reported".to_owned());
    add("limits", "time, processor time, memory, processes, file size, open files, output".to_owned());
    if level <= Level::B {
        let version = bubblewrap().and_then(|path| Command::new(path).arg("--version").output().ok());
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        add("bubblewrap", version.unwrap_or_default().trim_start_matches("bubblewrap ").to_owned());
        let user = if root { "" } else { ", user" };
        add("namespaces", format!("mount, pid, network, ipc, uts, cgroup{user}"));
    } else {
        add("namespaces", "none".to_owned());
    }
    match files::version() {
        0 => add("landlock", "none: this kernel has no Landlock".to_owned()),
        _ if level == Level::D => add("landlock", "none".to_owned()),
        version => add("landlock", format!("ABI {version}")),
    }
    match (&sandbox.cgroup, level) {
        (Some(parent), Level::A) => {
            add("cgroup", format!("memory and pids under {}", parent.folder().display()));
        }
        _ => add("cgroup", "none: memory is looked at every 20 ms instead".to_owned()),
    }
    let unprotected: &[&str] = match level {
        Level::A | Level::B => &[],
        Level::C => &[
            "That a file exists, its size, times and extended attributes can be seen, though not what is in it.",
            "How much is written to its folder is bounded for each file only.",
        ],
        Level::D => &[
            "Every file that its user can read or write is open to it, and so is the environment of his processes.",
            "How much is written is bounded for each file only.",
        ],
    };
    Layers { level, layers, unprotected: unprotected.iter().map(|&text| text.to_owned()).collect() }
}
