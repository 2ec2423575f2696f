//! Landlock: the kernel keeps the command to the files that it was shown, and away from TCP and from other people's
//! processes.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::super::orders::Files;

/// The version of Landlock that this kernel speaks, 0 for none.
#[expect(unsafe_code, reason = "the crate hides the version")]
pub(in super::super) fn version() -> i32 {
    // LANDLOCK_CREATE_RULESET_VERSION
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no memory and answers with a number
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    i32::try_from(answer).unwrap_or(0).max(0)
}

/// The first version that keeps `truncate` to what may be written.
pub(in super::super) const SCOPES_TRUNCATION: i32 = 3;
/// The first version from which signals stay inside.
pub(in super::super) const SCOPES_SIGNALS: i32 = 6;

fn abi(version: i32) -> ABI {
    match version {
        ..=0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        9 => ABI::V9,
        10.. => ABI::V10,
    }
}

/// Keeps this process, and whatever it starts, to `files`; the answer says how.
pub(super) fn keep_to(files: &Files) -> Result<String, String> {
    let version = version();
    let abi = abi(version);
    if abi == ABI::Unsupported {
        return Err("this kernel has no Landlock (5.13 or newer, with landlock in the lsm= list)".to_owned());
    }
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(|e| wrong(&e))?;
    if !AccessNet::from_all(abi).is_empty() {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(|e| wrong(&e))?;
    }
    if !Scope::from_all(abi).is_empty() {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(|e| wrong(&e))?;
    }
    let mut ruleset = ruleset.create().map_err(|e| wrong(&e))?;
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
    let rights = [
        (&files.read, AccessFs::from_read(abi)),
        (&files.devices, device),
        (&files.write, AccessFs::from_all(abi)),
    ];
    for (path, rights) in rights.iter().flat_map(|(paths, rights)| paths.iter().map(move |p| (p, *rights))) {
        // what is not there needs no right
        let Ok(fd) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(abi) };
        ruleset =
            ruleset.add_rule(PathBeneath::new(fd, rights)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let status = ruleset.restrict_self().map_err(|e| wrong(&e))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("ABI {version}, fully enforced")),
        other => Err(format!("ABI {version}, {other:?}")),
    }
}
