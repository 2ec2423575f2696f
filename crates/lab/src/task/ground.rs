//! What a task runs on, made once and kept: the interpreter, its packages, the inputs. Whatever fails leaves nothing
//! half-made.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coroner_diagnosis::{HarnessFault, HarnessKind};
use sha2::{Digest, Sha256};

use super::Task;
use super::python::{Python, find};
use crate::sandbox::Shown;

/// A part of a cache's recipe; another number forgets what was made.
const RECIPE: &str = "1";

/// What the machine offers for it.
pub struct Machine<'a> {
    /// Where programs are looked for.
    pub path: &'a OsStr,
    /// Where what is made is kept.
    pub cache: &'a Path,
    /// Must nothing be fetched?
    pub offline: bool,
    /// Hears what takes its time.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("path", &self.path)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// What a task runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The interpreter; of the virtual environment, if there are packages. `None` for a command that needs none.
    pub interpreter: Option<PathBuf>,
    /// The interpreter itself.
    pub python: Option<Python>,
    /// The folder of the virtual environment.
    pub packages: Option<PathBuf>,
    /// What is measured on.
    pub inputs: Option<PathBuf>,
    /// What is measured on before a candidate is taken over.
    pub held_out: Option<PathBuf>,
}

impl Ground {
    /// Makes it, or finds it made.
    ///
    /// # Errors
    /// What of it can't be had, and what to do; never a candidate's fault.
    pub fn prepare(task: &Task, machine: &Machine<'_>) -> Result<Self, HarnessFault> {
        let python = match find(&task.environment.python, machine.path) {
            Ok(python) => Some(python),
            // a program in another language needs no Python
            Err(_)
                if !task.is_python()
                    && task.environment.packages.is_empty()
                    && task.data().prepare.is_none() =>
            {
                None
            }
            Err(fault) => return Err(fault),
        };
        let packages = match &python {
            Some(python) if !task.environment.packages.is_empty() => {
                Some(packages(python, &task.environment.packages, machine)?)
            }
            _ => None,
        };
        let interpreter = match (&packages, &python) {
            (Some(folder), _) => Some(folder.join("bin/python")),
            (None, Some(python)) => Some(python.executable.clone()),
            (None, None) => None,
        };
        let data = task.data();
        let made = match (&data.prepare, &interpreter) {
            (Some(script), Some(interpreter)) => Some(inputs(task, script, interpreter, machine)?),
            _ => None,
        };
        let base = made.as_deref().unwrap_or(task.folder());
        let folder = |name: &Option<PathBuf>| {
            match name {
            None => Ok(None),
            Some(name) if base.join(name).is_dir() => Ok(Some(base.join(name))),
            Some(name) => Err(HarnessFault {
                kind: HarnessKind::Prepare,
                what: format!("the task's prepare script ran and made no folder `{}`", name.display()),
                advice: "Let it make that folder inside of the folder that it is given, or correct evaluator.inputs and \
                         evaluator.held_out"
                    .to_owned(),
            }),
        }
        };
        let inputs = folder(&data.inputs)?.or_else(|| made.clone());
        Ok(Self { interpreter, held_out: folder(&data.held_out)?, python, packages, inputs })
    }

    /// What a process has to see of it.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let same = |path: &Path| Shown::Host { from: path.to_owned(), to: path.to_owned() };
        let mut shown = Vec::new();
        if let Some(python) = &self.python {
            // what lies in the system's folders is seen anyway
            let outside = |path: &Path| {
                path.parent().is_some()
                    && !["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"]
                        .iter()
                        .any(|s| path.starts_with(s))
            };
            if outside(&python.prefix) {
                shown.push(same(&python.prefix));
            }
            if outside(&python.executable) && !python.executable.starts_with(&python.prefix) {
                shown.push(same(&python.executable));
            }
        }
        shown.extend(self.packages.as_deref().map(same));
        shown
    }
}

fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&RECIPE).chain(parts) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(12).map(|b| format!("{b:02x}")).collect()
}

fn packages(python: &Python, wanted: &[String], machine: &Machine<'_>) -> Result<PathBuf, HarnessFault> {
    let mut sorted: Vec<&str> = wanted.iter().map(|p| p.trim()).collect();
    sorted.sort_unstable();
    let executable = python.executable.to_string_lossy();
    let version = format!("{:?}", python.version);
    let mut parts = vec!["packages", &executable, &version];
    parts.extend(&sorted);
    made_once(&machine.cache.join("environments"), &key(&parts), machine, |folder| {
        if machine.offline {
            return Err(HarnessFault {
                kind: HarnessKind::Network,
                what: format!(
                    "the packages {} are not there yet, and --offline forbids to fetch them",
                    sorted.join(", ")
                ),
                advice: "Run it once without --offline".to_owned(),
            });
        }
        (machine.progress)(&format!("installing {} (once for this task)", sorted.join(", ")));
        install(python, &sorted, folder, machine.path)
    })
}

fn install(python: &Python, packages: &[&str], folder: &Path, path: &OsStr) -> Result<(), HarnessFault> {
    let uv = std::env::split_paths(path).map(|p| p.join("uv")).find(|p| p.is_file());
    let os = |words: &[&OsStr]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<OsString>>();
    let (make, mut fetch) = match &uv {
        Some(uv) => {
            let make = [
                uv.as_os_str(),
                "venv".as_ref(),
                "--quiet".as_ref(),
                "--relocatable".as_ref(),
                "--python".as_ref(),
            ];
            let make = [&make[..], &[python.executable.as_os_str(), folder.as_os_str()]].concat();
            let python = folder.join("bin/python");
            let fetch: [&OsStr; 6] = [
                uv.as_os_str(),
                "pip".as_ref(),
                "install".as_ref(),
                "--quiet".as_ref(),
                "--python".as_ref(),
                python.as_os_str(),
            ];
            (os(&make), os(&fetch))
        }
        None => {
            let make: [&OsStr; 4] =
                [python.executable.as_os_str(), "-m".as_ref(), "venv".as_ref(), folder.as_os_str()];
            let inner = folder.join("bin/python");
            let fetch: [&OsStr; 7] = [
                inner.as_os_str(),
                "-m".as_ref(),
                "pip".as_ref(),
                "install".as_ref(),
                "--quiet".as_ref(),
                "--disable-pip-version-check".as_ref(),
                "--no-input".as_ref(),
            ];
            (os(&make), os(&fetch))
        }
    };
    fetch.push("--".into());
    fetch.extend(packages.iter().map(OsString::from));
    run(&make, None).map_err(|said| HarnessFault {
        kind: HarnessKind::Packages,
        what: format!(
            "no virtual environment could be made with {}: {}",
            python.executable.display(),
            last_words(&said)
        ),
        advice: "Install uv, or the venv module of this Python (apt-get install python3-venv)".to_owned(),
    })?;
    run(&fetch, None).map_err(|said| {
        if is_of_network(&said) {
            return HarnessFault {
                kind: HarnessKind::Network,
                what: format!("the packages {} can't be fetched: {}", packages.join(", "), last_words(&said)),
                advice: "Connect this machine to the network, or point pip to a mirror (PIP_INDEX_URL), and try again; \
                         nothing half-made was kept"
                    .to_owned(),
            };
        }
        HarnessFault {
            kind: HarnessKind::Packages,
            what: format!("the packages {} can't be installed: {}", packages.join(", "), last_words(&said)),
            advice: "Correct environment.packages of the task, or environment.python if they need another version".to_owned(),
        }
    })
}

fn inputs(
    task: &Task,
    script: &Path,
    interpreter: &Path,
    machine: &Machine<'_>,
) -> Result<PathBuf, HarnessFault> {
    let text = fs::read(script).map_err(|e| cache_fault("read", script, &e))?;
    let hash: String = Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect();
    let interpreter_name = interpreter.to_string_lossy();
    let folder = task.folder().to_string_lossy();
    let key = key(&["inputs", &task.name, &folder, &interpreter_name, &hash]);
    made_once(&machine.cache.join("inputs"), &key, machine, |to| {
        (machine.progress)(&format!("preparing the inputs of {} (once)", task.name));
        fs::create_dir(to).map_err(|e| cache_fault("make", to, &e))?;
        let command =
            [interpreter.as_os_str().to_owned(), script.as_os_str().to_owned(), to.as_os_str().to_owned()];
        run(&command, Some(task.folder())).map_err(|said| HarnessFault {
            kind: if is_of_network(&said) { HarnessKind::Network } else { HarnessKind::Prepare },
            what: format!(
                "the task's {} failed: {}",
                script.file_name().unwrap_or_default().to_string_lossy(),
                last_words(&said)
            ),
            advice: "Run it by hand with an empty folder as its argument; nothing half-made was kept"
                .to_owned(),
        })
    })
}

/// A folder of the cache. Whoever comes first makes it, under a lock, in a folder beside; the others wait.
fn made_once(
    within: &Path,
    key: &str,
    machine: &Machine<'_>,
    make: impl FnOnce(&Path) -> Result<(), HarnessFault>,
) -> Result<PathBuf, HarnessFault> {
    let done = within.join(key);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(within).map_err(|e| cache_fault("make", within, &e))?;
    let lock_path = within.join(format!("{key}.lock"));
    let lock = File::create(&lock_path).map_err(|e| cache_fault("write", &lock_path, &e))?;
    if lock.try_lock().is_err() {
        (machine.progress)("waiting for another coroner that prepares the same task");
        lock.lock().map_err(|e| cache_fault("lock", &lock_path, &e))?;
    }
    if done.is_dir() {
        return Ok(done);
    }
    // what a coroner left that was killed; nobody else is here
    let partial = within.join(format!("{key}.partial"));
    remove(&partial)?;
    let made = make(&partial).and_then(|()| {
        readable_by_all(&partial).map_err(|e| cache_fault("change the mode of", &partial, &e))?;
        fs::rename(&partial, &done).map_err(|e| cache_fault("rename", &partial, &e))
    });
    if made.is_err() {
        remove(&partial)?;
    }
    made.map(|()| done)
}

fn remove(folder: &Path) -> Result<(), HarnessFault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cache_fault("remove", folder, &error)),
        _ => Ok(()),
    }
}

/// The sandbox runs as somebody else where we are root.
fn readable_by_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut rest = vec![folder.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_symlink() {
            continue;
        }
        let mode = meta.permissions().mode();
        let wanted = mode | 0o444 | if meta.is_dir() || mode & 0o100 != 0 { 0o111 } else { 0 };
        if wanted != mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted))?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                rest.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Runs it to its end; what it printed if it failed.
fn run(command: &[OsString], folder: Option<&Path>) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("there is no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command.output().map_err(|error| format!("{}: {error}", program.to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{}\n({})", String::from_utf8_lossy(&said).trim_end(), output.status))
}

/// The last line that says something, short enough for a sentence.
fn last_words(said: &str) -> String {
    let telling = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("(exit status") && !line.starts_with("[notice]")
    };
    let line = said.lines().rev().find(telling).unwrap_or(said).trim();
    let line = line.strip_prefix("ERROR: ").unwrap_or(line);
    line.chars().take(300).collect()
}

fn is_of_network(said: &str) -> bool {
    const SIGNS: [&str; 11] = [
        "Temporary failure in name resolution",
        "Name or service not known",
        "NewConnectionError",
        "Network is unreachable",
        "Connection refused",
        "ConnectTimeoutError",
        "Read timed out",
        "dns error",
        "error sending request",
        "ProxyError",
        "Max retries exceeded",
    ];
    SIGNS.iter().any(|sign| said.contains(sign))
}

fn cache_fault(what: &str, path: &Path, error: &io::Error) -> HarnessFault {
    HarnessFault {
        kind: HarnessKind::Cache,
        what: format!("can't {what} {}: {error}", path.display()),
        advice: "Make room or correct the permissions; what is in the cache can be removed and is made again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine<'a>(cache: &'a Path, progress: &'a (dyn Fn(&str) + Sync)) -> Machine<'a> {
        Machine { path: OsStr::new("/usr/bin:/bin"), cache, offline: true, progress }
    }

    #[test]
    fn what_fails_leaves_nothing_and_what_is_made_is_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let quiet = |_: &str| {};
        let machine = machine(cache.path(), &quiet);
        let broken = || HarnessFault { kind: HarnessKind::Prepare, what: "no".into(), advice: "no".into() };
        let failed = made_once(cache.path(), "k", &machine, |folder| {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("half"), "").unwrap();
            Err(broken())
        });
        assert_eq!(failed.unwrap_err().kind, HarnessKind::Prepare);
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["k.lock"]);
        let times = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let made = made_once(cache.path(), "k", &machine, |folder| {
                        times.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        fs::create_dir(folder).unwrap();
                        fs::write(folder.join("whole"), "").unwrap();
                        Ok(())
                    });
                    assert!(made.unwrap().join("whole").is_file());
                });
            }
        });
        assert_eq!(times.into_inner(), 1);
    }

    #[test]
    fn a_missing_network_is_told_from_a_package_that_there_is_not() {
        assert!(is_of_network(
            "WARNING: Retrying ... NewConnectionError('Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')"
        ));
        let said = "ERROR: Could not find a version that satisfies the requirement nmupy==2\nERROR: No matching distribution found for nmupy==2\n(exit status: 1)";
        assert!(!is_of_network(said));
        assert_eq!(last_words(said), "No matching distribution found for nmupy==2");
    }
}
