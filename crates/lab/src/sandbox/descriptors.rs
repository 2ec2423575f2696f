//! Descriptors laid where another program expects them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Puts each `from` at its `to`, open across exec; all others are closed then. `spare` is room for one number for each
/// pair. Allocates nothing: it may run between fork and exec.
pub(super) fn place(pairs: &[(RawFd, RawFd)], spare: &mut [RawFd]) -> io::Result<()> {
    // first out of the way, for one's place may be taken by another that is still needed
    let above = pairs.iter().map(|(from, to)| from.max(to)).max().map_or(3, |most| most + 1);
    for ((from, _), spare) in pairs.iter().zip(spare.iter_mut()) {
        *spare = above_all(*from, above)?;
    }
    close_on_exec(0)?;
    for ((_, to), spare) in pairs.iter().zip(spare.iter()) {
        set(*spare, *to)?;
    }
    Ok(())
}

/// A copy of `fd` at `least` or above, closed on exec.
#[expect(unsafe_code, reason = "the numbers come from elsewhere and belong to nobody")]
pub(super) fn above_all(fd: RawFd, least: RawFd) -> io::Result<RawFd> {
    // SAFETY: no memory is involved
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) } {
        -1 => Err(io::Error::last_os_error()),
        copy => Ok(copy),
    }
}

#[expect(unsafe_code, reason = "the numbers come from elsewhere and belong to nobody")]
fn set(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved; what was at `to` is not used by us any more
    if unsafe { libc::dup2(from, to) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// All descriptors from `first` on are closed on exec.
#[expect(unsafe_code, reason = "rustix has no close_range that leaves them open until exec")]
fn close_on_exec(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: nothing is closed yet, and no memory is involved
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Numbers of descriptors that were promised to us.
#[expect(unsafe_code, reason = "a number becomes a descriptor")]
pub(super) fn inherited<'fd>(fd: RawFd) -> io::Result<BorrowedFd<'fd>> {
    // SAFETY: asks whether it is open, and nothing else
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody in this process closes it but by `close` below
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Closes one that was inherited and is not ours to keep.
#[expect(unsafe_code, reason = "the numbers come from elsewhere and belong to nobody")]
pub(super) fn close(fd: RawFd) {
    // SAFETY: whoever calls this has given it away; closing twice is no harm in a process with one thread
    unsafe { libc::close(fd) };
}

/// Pairs of a descriptor and the number that it is to have.
pub(super) fn pairs(wanted: &[(BorrowedFd<'_>, RawFd)]) -> Vec<(RawFd, RawFd)> {
    wanted.iter().map(|(fd, number)| (fd.as_raw_fd(), *number)).collect()
}
