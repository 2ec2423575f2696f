//! Finds the Python that a task asks for: the executable itself, behind whatever shim or link it is called by.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coroner_diagnosis::{HarnessFault, HarnessKind};
use serde::Deserialize;

use super::Requirement;

/// An interpreter as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The executable, and no shim.
    pub executable: PathBuf,
    /// Where it is installed, with its library.
    pub prefix: PathBuf,
    /// 3, 11, 7.
    pub version: [u32; 3],
}

#[derive(Deserialize)]
struct Said {
    executable: PathBuf,
    prefix: PathBuf,
    version: [u32; 3],
}

/// What a shim can't pass on: where the interpreter really is, without the virtual environment around it.
const ASK: &str = "import sys, json; print(json.dumps({'executable': getattr(sys, '_base_executable', None) or \
                   sys.executable, 'prefix': sys.base_prefix, 'version': list(sys.version_info[:3])}))";

/// The first on the search path that will do.
pub(super) fn find(required: &Requirement, path: &OsStr) -> Result<Python, HarnessFault> {
    let mut tried = Vec::new();
    for name in names() {
        for folder in std::env::split_paths(path).filter(|folder| folder.is_absolute()) {
            let executable = folder.join(&name);
            if !executable.is_file() {
                continue;
            }
            match ask(&executable) {
                Ok(python) if required.is_met_by(python.version) => return Ok(python),
                Ok(python) => {
                    let [major, minor, patch] = python.version;
                    tried.push(format!("{} is {major}.{minor}.{patch}", executable.display()));
                }
                // a shim of a version that is not installed
                Err(_) => {}
            }
        }
    }
    tried.dedup();
    Err(HarnessFault {
        kind: HarnessKind::Python,
        what: match tried.as_slice() {
            [] => format!("the task needs Python {required}, and there is no Python on the search path"),
            some => format!("the task needs Python {required}, and there is none: {}", some.join(", ")),
        },
        advice: "Install it (apt-get install python3, uv python install, pyenv install) and put it on PATH, or change \
                 environment.python of the task"
            .to_owned(),
    })
}

fn names() -> impl Iterator<Item = String> {
    let numbered = (8..=20).rev().map(|minor| format!("python3.{minor}"));
    ["python3", "python"].into_iter().map(str::to_owned).chain(numbered)
}

fn ask(executable: &Path) -> Result<Python, String> {
    let output = Command::new(executable)
        .args(["-I", "-S", "-c", ASK])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said: Said = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let executable = said.executable.canonicalize().map_err(|error| error.to_string())?;
    let prefix = said.prefix.canonicalize().map_err(|error| error.to_string())?;
    Ok(Python { executable, prefix, version: said.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn none_too_old_and_shims_that_lead_nowhere_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().as_os_str();
        let required = Requirement::parse(">=3.9").unwrap();
        let fault = find(&required, path).unwrap_err();
        assert!(fault.what.contains("no Python on the search path"), "{fault}");
        assert!(fault.advice.contains("Install it"), "{fault}");
        script(folder.path(), "python3", "#!/bin/sh\necho 'pyenv: version not installed' >&2; exit 127\n");
        script(
            folder.path(),
            "python3.8",
            "#!/bin/sh\necho '{\"executable\": \"/bin/sh\", \"prefix\": \"/usr\", \"version\": [3, 8, 1]}'\n",
        );
        let fault = find(&required, path).unwrap_err();
        assert!(fault.what.contains("python3.8 is 3.8.1"), "{fault}");
        script(
            folder.path(),
            "python3.12",
            "#!/bin/sh\necho '{\"executable\": \"/bin/sh\", \"prefix\": \"/usr\", \"version\": [3, 12, 1]}'\n",
        );
        let found = find(&required, path).unwrap();
        assert_eq!(found.version, [3, 12, 1]);
        assert!(found.executable.is_absolute() && found.prefix == Path::new("/usr"));
    }
}
