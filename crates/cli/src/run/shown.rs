//! What a command in a sandbox is shown of the machine: the current folder, its own program, and what was asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use coroner_lab::sandbox::Shown;

use super::confined::is_home;
use super::start::find;
use crate::args::RunArgs;
use crate::context::{Context, Failed};

/// Where programs are inside.
const SEARCH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// What is there anyway.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"];

/// What is to be seen, where the program is, and the search path.
pub(super) struct Seen {
    pub(super) program: PathBuf,
    pub(super) search: String,
    pub(super) shown: Vec<Shown>,
}

pub(super) fn shown(args: &RunArgs, context: &Context) -> Result<Seen, Failed> {
    let here = std::env::current_dir().context("can't tell the current folder")?;
    if here.parent().is_none() {
        return Err(anyhow!(
            "the whole machine can't be shown to a command in a sandbox: start from a folder of its own"
        )
        .into());
    }
    if is_home(&here, context.env.home()) {
        context.note("the command can read your whole home folder, for it is the current one: start from a project's folder");
    }
    let mut places = vec![here.clone()];
    for path in &args.show {
        places.push(std::path::absolute(path).with_context(|| format!("can't show {}", path.display()))?);
    }
    let name = args.command.first().map(|word| word.as_os_str()).unwrap_or_default();
    let mut seen = Seen { program: name.into(), search: SEARCH.to_owned(), shown: Vec::new() };
    // one that is not found is said by the sandbox, as by a shell
    if let Some(found) = find(name, context.env.get("PATH")) {
        let found = if name.as_bytes().contains(&b'/') { here.join(found) } else { found };
        if is_elsewhere(&found, &places) {
            let (program, roots) = home_of(&found)?;
            if let Some(folder) = program.parent() {
                seen.search = format!("{}:{SEARCH}", folder.display());
            }
            seen.program = program;
            places.extend(roots);
        }
    }
    places.dedup();
    for place in places {
        if seen.shown.iter().all(|known| !place.starts_with(known.to())) && !is_system(&place) {
            seen.shown.push(Shown::Host { from: place.clone(), to: place });
        }
    }
    Ok(seen)
}

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

fn is_elsewhere(path: &Path, places: &[PathBuf]) -> bool {
    // a link in the current folder may lead out of it
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    ![path, &real].iter().all(|path| is_system(path) || places.iter().any(|place| path.starts_with(place)))
}

/// A program that lies elsewhere, and what it needs to be shown: Python its environment, others themselves.
fn home_of(found: &Path) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
    let is_python = found.file_name().is_some_and(|name| name.as_bytes().starts_with(b"python"));
    if !is_python {
        let real = found.canonicalize().with_context(|| format!("can't find {}", found.display()))?;
        return Ok((found.to_owned(), vec![found.to_owned(), real]));
    }
    // it may be a script that chooses one, as pyenv's
    let asked = Command::new(found)
        .args(["-I", "-c", "import sys; print(sys.executable, sys.prefix, sys.base_prefix, sep='\\n')"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("can't ask {} where it lies", found.display()))?;
    let lines: Vec<PathBuf> = asked
        .stdout
        .split(|byte| *byte == b'\n')
        .take(3)
        .map(|line| OsStr::from_bytes(line).into())
        .collect();
    let [program, prefix, base] = <[PathBuf; 3]>::try_from(lines).unwrap_or_default();
    if !program.is_absolute() || !prefix.is_absolute() || !base.is_absolute() {
        bail!("{} does not say where it lies, so it can't be shown to itself in a sandbox", found.display());
    }
    Ok((program, vec![prefix, base]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_elsewhere_is_known() {
        let here = [PathBuf::from("/no/such/project")];
        for (path, elsewhere) in [
            ("/usr/bin/true", false),
            ("/no/such/project/run.sh", false),
            ("/no/such/tools/run", true),
            ("/usrlocal/bin/x", true),
        ] {
            assert_eq!(is_elsewhere(Path::new(path), &here), elsewhere, "{path}");
        }
    }
}
