//! The folder that stands for the file system where there is no mount namespace: made for one run, gone with it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};

use super::Shown;

/// The writable folder's name in it.
pub(super) const WORK: &str = "work";

/// A folder with what the command is shown, for `user` if it becomes another. Returns the root and what lies elsewhere.
pub(super) fn make(within: &Path, shown: &[Shown], user: Option<u32>) -> io::Result<PathBuf> {
    let root = tempfile::Builder::new().prefix("coroner-sandbox-").tempdir_in(within)?;
    // others may pass through, but see only what they know the name of
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711))?;
    let work = root.path().join(WORK);
    fs::DirBuilder::new().mode(0o700).create(&work)?;
    if let Some(user) = user {
        chown(&work, Some(user), Some(user))?;
    }
    for thing in shown {
        let to = root.path().join(thing.to().strip_prefix("/").unwrap_or(thing.to()));
        if let Some(parent) = to.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        match thing {
            Shown::File { bytes, .. } => {
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(&to)?;
                io::Write::write_all(&mut file, bytes)?;
            }
            Shown::Host { from, .. } => symlink(from, &to)?,
        }
    }
    Ok(root.keep())
}

/// So deep a folder is emptied in place; what lies deeper is moved up first. Each level costs a descriptor.
const DEPTH: u32 = 64;

/// Removes a folder in which somebody else has had his way: links are not followed, and depth does no harm.
pub(super) fn remove(root: &Path) {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = openat(CWD, root, flags, Mode::empty()) else { return };
    let mut moved = 0;
    while empty(top.as_fd(), top.as_fd(), 0, &mut moved) {}
    _ = fs::remove_dir(root);
}

/// Empties one folder, as far as that goes. True if something was moved to `top`, under a name that counts up.
fn empty(folder: BorrowedFd<'_>, top: BorrowedFd<'_>, depth: u32, moved: &mut u64) -> bool {
    let Ok(entries) = Dir::read_from(folder) else { return false };
    let names: Vec<CString> = entries
        .flatten()
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    let mut more = false;
    for name in &names {
        if unlinkat(folder, name, AtFlags::empty()).is_ok() {
            continue;
        }
        let Some(below) = open_folder(folder, name) else { continue };
        if depth < DEPTH {
            more |= empty(below.as_fd(), top, depth + 1, moved);
        }
        if unlinkat(folder, name, AtFlags::REMOVEDIR).is_err() && depth == DEPTH {
            *moved += 1;
            more |= renameat(folder, name, top, format!(".moved-{moved}")).is_ok();
        }
    }
    more
}

/// Opens a folder, with the rights to empty it.
fn open_folder(within: BorrowedFd<'_>, name: &std::ffi::CStr) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let known = rustix::fs::statat(within, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(known.st_mode) == FileType::Directory && known.st_mode & 0o700 != 0o700 {
        _ = rustix::fs::chmodat(within, name, Mode::RWXU, AtFlags::empty());
    }
    openat(within, name, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_can_be_removed_whatever_was_done_in_it() {
        let within = tempfile::tempdir().unwrap();
        let outside = within.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let shown = [
            Shown::File { to: "/a/b/file".into(), bytes: b"text".to_vec() },
            Shown::Host { from: outside.clone(), to: "/a/outside".into() },
        ];
        let root = make(within.path(), &shown, None).unwrap();
        assert_eq!(fs::read(root.join("a/b/file")).unwrap(), b"text");
        assert!(root.join("a/outside/kept").exists());
        let work = root.join(WORK);
        symlink(&outside, work.join("link")).unwrap();
        fs::create_dir_all(work.join("x/y/z")).unwrap();
        fs::write(work.join("x/y/z/file"), "").unwrap();
        fs::set_permissions(work.join("x/y"), fs::Permissions::from_mode(0o0)).unwrap();
        // deeper than is emptied in place
        let mut at = openat(CWD, &work, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..300 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = openat(&at, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&root);
        assert!(!root.exists());
        assert!(outside.join("kept").exists(), "links are not followed");
        remove(&root);
    }
}
