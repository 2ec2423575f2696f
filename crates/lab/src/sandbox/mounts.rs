//! What the command's file system is made of where there is a mount namespace: the arguments of bubblewrap.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use rustix::fs::{MemfdFlags, memfd_create};

use super::orders::{Files, NAME};
use super::{Plan, Shown};

/// Where our own binary is seen inside.
pub(super) fn helper() -> String {
    format!("/{NAME}")
}

/// Folders of the system that hold programs and libraries.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];
/// Where the loader finds libraries, and what the names of commands and libraries stand for.
const LOADER: [&str; 3] = ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"];
/// Devices without any device.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// A device that is another by now: a link costs less than a mount.
const SAME: (&str, &str) = ("/dev/random", "/dev/urandom");

/// Arguments, and the memory files that they name by number.
pub(super) struct Mounts {
    pub(super) arguments: Vec<OsString>,
    pub(super) data: Vec<(OwnedFd, i32)>,
}

/// Builds the arguments. Descriptors are numbered from `first` on.
pub(super) fn mounts(plan: &Plan, program: &Path, user: Option<u32>, first: i32) -> io::Result<Mounts> {
    let mut made = Builder { arguments: Vec::new(), data: Vec::new(), folders: BTreeSet::new(), next: first };
    for place in SYSTEM {
        match fs::symlink_metadata(place) {
            Ok(meta) if meta.is_symlink() => {
                let to = fs::read_link(place)?;
                made.add(["--symlink".into(), to.into(), place.into()]);
            }
            Ok(meta) if meta.is_dir() => {
                made.parents(Path::new(place));
                made.add(["--ro-bind".into(), place.into(), place.into()]);
            }
            _ => {}
        }
    }
    for place in LOADER.map(Path::new) {
        made.parents(place);
        match fs::symlink_metadata(place)
            .and_then(|meta| if meta.is_symlink() { place.canonicalize() } else { Ok(place.into()) })
        {
            // the time zone, mostly
            Ok(real) if real.starts_with("/usr") => made.add(["--symlink".into(), real.into(), place.into()]),
            Ok(_) => made.add(["--ro-bind-try".into(), place.into(), place.into()]),
            Err(_) => {}
        }
    }
    made.add(["--proc".into(), "/proc".into()]);
    made.parents(Path::new("/dev/null"));
    for device in DEVICES.into_iter().filter(|device| *device != SAME.0) {
        made.add(["--dev-bind".into(), device.into(), device.into()]);
    }
    for (link, to) in [
        (SAME.0, SAME.1),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        // one writable folder under several names, so that one size bounds them all
        ("/dev/shm", "/work"),
    ] {
        made.add(["--symlink".into(), to.into(), link.into()]);
    }
    let size = plan.limits.work_space.max(4096).to_string();
    let mode = if user.is_some() { "1777" } else { "0700" };
    let writable = |made: &mut Builder, place: &str| {
        made.add(["--size".into(), size.clone().into(), "--perms".into(), mode.into()]);
        made.add(["--tmpfs".into(), place.into()]);
        made.folders.insert(place.into());
    };
    writable(&mut made, "/work");
    // what is shown may lie in there, and can't lie behind a link
    if plan.shown.iter().any(|shown| shown.to().starts_with("/tmp")) {
        writable(&mut made, "/tmp");
    } else {
        made.add(["--symlink".into(), "/work".into(), "/tmp".into()]);
    }
    let id = user.unwrap_or(INSIDE);
    made.file(Path::new("/etc/passwd"), format!("coroner:x:{id}:{id}::/work:/bin/sh\n").as_bytes())?;
    made.file(Path::new("/etc/group"), format!("coroner:x:{id}:\n").as_bytes())?;
    made.add(["--ro-bind".into(), program.into(), helper().into()]);
    for shown in &plan.shown {
        match shown {
            Shown::File { to, bytes } => made.file(to, bytes)?,
            Shown::Host { from, to } => {
                made.parents(to);
                made.add(["--ro-bind".into(), from.into(), to.into()]);
            }
        }
    }
    made.add(["--remount-ro".into(), "/".into()]);
    Ok(Mounts { arguments: made.arguments, data: made.data })
}

/// The user that the command is inside a user namespace.
pub(super) const INSIDE: u32 = 1000;

struct Builder {
    arguments: Vec<OsString>,
    data: Vec<(OwnedFd, i32)>,
    folders: BTreeSet<PathBuf>,
    next: i32,
}

impl Builder {
    fn add<const N: usize>(&mut self, words: [OsString; N]) {
        self.arguments.extend(words);
    }

    /// bubblewrap makes missing folders for nobody but itself; the command has to pass through them.
    fn parents(&mut self, of: &Path) {
        let parents: Vec<&Path> = of.ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
        for folder in parents.into_iter().rev() {
            // what lies in something that is shown is there
            if self.folders.insert(folder.to_owned()) && !SYSTEM.iter().any(|known| folder.starts_with(known))
            {
                self.add(["--perms".into(), "0755".into(), "--dir".into(), folder.into()]);
            }
        }
    }

    fn file(&mut self, to: &Path, bytes: &[u8]) -> io::Result<()> {
        self.parents(to);
        let number = self.next;
        self.data.push((memory_file(bytes)?, number));
        self.next += 1;
        self.add(["--perms".into(), "0444".into(), "--file".into(), number.to_string().into(), to.into()]);
        Ok(())
    }
}

/// A file in memory that is read from its beginning.
pub(super) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = fs::File::from(memfd_create("coroner", MemfdFlags::CLOEXEC)?);
    io::Write::write_all(&mut &file, bytes)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

/// What Landlock lets through; `root` is the folder of ours that takes the place of a mount namespace.
pub(super) fn files(plan: &Plan, root: Option<&Path>) -> Files {
    let paths = |places: &[&str]| places.iter().map(PathBuf::from).collect::<Vec<_>>();
    let mut files = Files { read: paths(&SYSTEM), devices: paths(&DEVICES), write: Vec::new() };
    files.read.extend(paths(&LOADER));
    match root {
        None => {
            // what a link names lies in another of them
            files.read.retain(|place| fs::symlink_metadata(place).is_ok_and(|meta| !meta.is_symlink()));
            files.read.extend(paths(&["/proc", "/etc/passwd", "/etc/group"]));
            files.read.push(helper().into());
            files.write = paths(&["/work", "/tmp"]);
            files.read.extend(plan.shown.iter().map(|shown| shown.to().to_owned()));
        }
        Some(root) => {
            files.read.extend(paths(&[
                "/proc/self",
                "/proc/cpuinfo",
                "/proc/meminfo",
                "/proc/stat",
                "/etc/ssl/openssl.cnf",
            ]));
            files.read.push(root.to_owned());
            files.write.push(root.join(super::folder::WORK));
            files.read.extend(plan.shown.iter().filter_map(|shown| match shown {
                Shown::Host { from, .. } => Some(from.clone()),
                Shown::File { .. } => None,
            }));
        }
    }
    files
}

/// Is it a place for something that is shown?
pub(super) fn is_place(path: &Path) -> bool {
    path.is_absolute()
        && path.file_name().is_some()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !path.starts_with("/proc")
        && path != Path::new("/work")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_are_places() {
        for good in ["/a", "/a/b.py", "/root/.pyenv", "/work/x"] {
            assert!(is_place(Path::new(good)), "{good}");
        }
        for bad in ["", "a", "/", "/a/../b", "/proc/self", "/work"] {
            assert!(!is_place(Path::new(bad)), "{bad}");
        }
    }
}
