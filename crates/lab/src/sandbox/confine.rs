//! One run, prepared: everything that it needs laid out, and gone when it is over.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::cgroup::Group;
use super::error::system;
use super::inner::{files, processes};
use super::laid::{Laid, bubblewrap, helper, start};
use super::mounts::{self, memory_file};
use super::orders::Orders;
use super::watch::{Outputs, Run, oom_kills};
use super::{Level, Limits, Plan, Report, Sandbox, SandboxError, Shown, Stop, folder};

/// Runs a plan that `sandbox` may run.
pub(super) fn confine(
    sandbox: &Sandbox,
    level: Level,
    plan: Plan,
    stop: &Stop,
    outputs: Outputs<'_>,
) -> Result<Report, SandboxError> {
    check(&plan)?;
    let user = sandbox.identity.next_user();
    let namespaces = level <= Level::B;
    if !namespaces && user.is_some() {
        open_to_others(&plan, level)?;
    }
    let root = if namespaces { None } else { Some(Folder::make(sandbox, &plan.shown, user)?) };
    let place = root.as_ref().map(|folder| folder.0.as_path());
    let group = match (&sandbox.cgroup, level) {
        (Some(parent), Level::A) => Some(parent.group(&plan.limits).map_err(system("make a control group"))?),
        _ => None,
    };
    let stop = stop.listener().map_err(system("listen for a stop"))?;
    let oom_before = oom_kills();

    let mut laid = Laid::new(&plan, matches!(outputs, Outputs::Apart(..)))?;
    let door = group.as_ref().map(Group::door).transpose().map_err(system("open a control group"))?;
    let door = door.map(|door| laid.inherit(door));
    let orders = Orders {
        command: plan.command.iter().map(|word| with_root(word, place)).collect(),
        env: plan.env.iter().map(|(name, value)| (name.clone(), text_with_root(value, place))).collect(),
        cwd: with_root(plan.cwd.as_os_str(), place).into(),
        descriptors: laid.for_command.clone(),
        forks: plan.forks,
        limits: plan.limits.clone(),
        processes: processes_allowed(&plan.limits, namespaces, user),
        user,
        namespaces,
        files: (level != Level::D && files::version() > 0).then(|| mounts::files(&plan, place)),
        folder: place.map(Path::to_owned),
        watch_memory: group.is_none(),
        cgroup: door,
    };
    if level == Level::C && orders.files.is_none() {
        return Err(SandboxError::Setup { step: "landlock".into(), reason: "this kernel has none".into() });
    }
    let orders = serde_json::to_vec(&orders).map_err(|e| SandboxError::Plan(e.to_string()))?;
    let orders = memory_file(&orders).map_err(system("write its orders"))?;
    let mut command = if namespaces { bubblewrap(sandbox, &plan, user, &mut laid)? } else { helper(sandbox) };
    let started = start(&mut command, laid, &orders)?;
    drop(orders);
    let limits = plan.limits.clone();
    // our copies of the channels, so that their other ends notice when the command is gone
    drop(plan);
    let mut run = Run::new(started, &limits, outputs);
    run.until_over(stop.as_fd());
    let report = run.report(sandbox, limits, level, oom_before, group.as_ref());
    // whatever became of the inner side
    drop((group, root));
    report
}

/// A plan that can be carried out.
fn check(plan: &Plan) -> Result<(), SandboxError> {
    let wrong = |what: String| Err(SandboxError::Plan(what));
    let mut numbers: Vec<i32> = plan.channels.iter().map(|channel| channel.number).collect();
    numbers.sort_unstable();
    if let Some(number) = numbers.iter().find(|n| **n < 0 || (1..3).contains(*n) || **n > 200) {
        return wrong(format!(
            "a channel can't have the number {number}: it is 0 (standard input), or 3 to 200"
        ));
    }
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return wrong("two channels have the same number".to_owned());
    }
    for shown in &plan.shown {
        if !mounts::is_place(shown.to()) {
            return wrong(format!(
                "nothing can be shown at {}: it must be a whole path, and not /work",
                shown.to().display()
            ));
        }
        if let Shown::Host { from, .. } = shown
            && !from.exists()
        {
            return wrong(format!("{} can't be shown: it is not there", from.display()));
        }
    }
    if let Some(name) = plan.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return wrong(format!("`{name}` is no name of an environment variable"));
    }
    if plan.command.is_empty() {
        return wrong("there is no command".to_owned());
    }
    Ok(())
}

/// Without a mount namespace the command has to go where things lie, and it is not root.
fn open_to_others(plan: &Plan, level: Level) -> Result<(), SandboxError> {
    use std::os::unix::fs::PermissionsExt;
    for shown in &plan.shown {
        let Shown::Host { from, .. } = shown else { continue };
        let real = from.canonicalize().unwrap_or_else(|_| from.clone());
        let closed = real
            .ancestors()
            .skip(1)
            .find(|folder| folder.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0));
        if let Some(folder) = closed {
            return Err(SandboxError::Plan(format!(
                "{} can't be shown at level {level}: commands of root run as somebody else there, and {} is closed to \
                 others; install it elsewhere, start coroner as a normal user, or make level B possible",
                from.display(),
                folder.display()
            )));
        }
    }
    Ok(())
}

/// The folder that is removed whatever happens; mostly the inner side was quicker.
struct Folder(PathBuf);

impl Folder {
    fn make(sandbox: &Sandbox, shown: &[Shown], user: Option<u32>) -> Result<Self, SandboxError> {
        folder::make(&sandbox.scratch, shown, user).map(Self).map_err(system("make a folder for the command"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        folder::remove(&self.0);
    }
}

const ROOT: &str = "{root}";

fn with_root(text: &std::ffi::OsStr, root: Option<&Path>) -> OsString {
    let root = root.map(|root| root.as_os_str().as_bytes()).unwrap_or_default();
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(at) = memchr_root(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(root);
        rest = &rest[at + ROOT.len()..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

fn memchr_root(text: &[u8]) -> Option<usize> {
    text.windows(ROOT.len()).position(|window| window == ROOT.as_bytes())
}

fn text_with_root(text: &str, root: Option<&Path>) -> String {
    text.replace(ROOT, &root.map(|root| root.to_string_lossy().into_owned()).unwrap_or_default())
}

/// What the kernel is told: it counts all tasks of a user, where the user is not the command's own.
fn processes_allowed(limits: &Limits, namespaces: bool, user: Option<u32>) -> u64 {
    let own = u64::from(limits.processes) + 1;
    if namespaces || user.is_some() {
        own
    } else {
        own + processes::tasks_of(rustix::process::getuid().as_raw())
    }
}
