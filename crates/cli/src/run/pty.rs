//! A terminal for the command where our own output is one, so that it prints what it would have printed without us.
//!
//! Only the output goes through it: standard input, the controlling terminal and job control stay the real ones, so
//! keys, passwords, Ctrl-C, Ctrl-Z and `fg` work as they always do. Programs that switch the terminal's modes through
//! their output (curses does) have that mirrored.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// The side of the pseudo-terminal that we read from, and the real terminal behind it.
pub(super) struct Pty {
    master: Arc<OwnedFd>,
    real: OwnedFd,
    /// The modes of the real terminal before the command, and of the pseudo-terminal as last seen.
    before: Termios,
    seen: Termios,
    mirrored: bool,
}

impl Pty {
    /// Opens one that looks like `real`. The second value is the command's side.
    pub(super) fn like(real: BorrowedFd<'_>) -> std::io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let before = tcgetattr(real)?;
        tcsetattr(&slave, OptionalActions::Now, &before)?;
        let master = Arc::new(master);
        let pty =
            Self { master, real: real.try_clone_to_owned()?, seen: before.clone(), before, mirrored: false };
        pty.resize();
        Ok((pty, slave))
    }

    pub(super) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// A second handle, for resizing while another thread copies. It does not keep the pseudo-terminal open: when we
    /// hang up, the command has to notice.
    pub(super) fn sizer(&self) -> std::io::Result<Sizer> {
        Ok(Sizer { master: Arc::downgrade(&self.master), real: self.real.try_clone()? })
    }

    fn resize(&self) {
        resize(self.master.as_fd(), self.real.as_fd());
    }

    /// Gives the real terminal the modes that the command has given to its own.
    pub(super) fn mirror(&mut self) {
        let Ok(now) = tcgetattr(&self.master) else { return };
        if same(&now, &self.seen) {
            return;
        }
        // in the background it is not ours to change: that would stop us
        if tcgetpgrp(&self.real).is_ok_and(|group| group == rustix::process::getpgrp()) {
            _ = tcsetattr(&self.real, OptionalActions::Now, &now);
            self.mirrored = true;
        }
        self.seen = now;
    }

    /// Does the pseudo-terminal put "\r" before each "\n"? The real one will do that again.
    pub(super) fn adds_returns(&self) -> bool {
        self.seen.output_modes.contains(OutputModes::OPOST | OutputModes::ONLCR)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if self.mirrored {
            _ = tcsetattr(&self.real, OptionalActions::Now, &self.before);
        }
    }
}

/// Passes the real terminal's size on.
pub(super) struct Sizer {
    master: Weak<OwnedFd>,
    real: OwnedFd,
}

impl Sizer {
    pub(super) fn resize(&self) {
        if let Some(master) = self.master.upgrade() {
            resize(master.as_fd(), self.real.as_fd());
        }
    }
}

fn resize(master: BorrowedFd<'_>, real: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(real) {
        _ = tcsetwinsize(master, size);
    }
}

fn same(a: &Termios, b: &Termios) -> bool {
    // rustix does not compare special characters; those that a program changes come with changed modes
    (a.input_modes, a.output_modes, a.control_modes, a.local_modes)
        == (b.input_modes, b.output_modes, b.control_modes, b.local_modes)
}

/// Takes the "\r" before each "\n" out again, however the text is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Returns {
    held: bool,
}

impl Returns {
    /// `text` without them. A "\r" at its end is held until it is known what follows.
    pub(super) fn without(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 1);
        for byte in text {
            if std::mem::take(&mut self.held) && *byte != b'\n' {
                out.push(b'\r');
            }
            if *byte == b'\r' {
                self.held = true;
            } else {
                out.push(*byte);
            }
        }
        out
    }

    pub(super) fn is_holding(&self) -> bool {
        self.held
    }

    /// What was held, when nothing followed.
    pub(super) fn release(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.held) { b"\r" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_the_terminal_added_is_taken_out_exactly() {
        for text in ["", "a\n", "a\r\nb", "\r\r\n\n", "50%\r60%\r", "\n\n\r", "no end", "\r"] {
            // as a terminal with ONLCR writes it
            let added: Vec<u8> = text.replace('\n', "\r\n").into_bytes();
            for cut in 0..=added.len() {
                let mut returns = Returns::default();
                let mut got = returns.without(&added[..cut]);
                got.extend(returns.without(&added[cut..]));
                got.extend(returns.release());
                assert_eq!(String::from_utf8(got).unwrap(), text, "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_commands_terminal_looks_like_ours_and_its_modes_come_back() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags).unwrap();
        grantpt(&outer).unwrap();
        unlockpt(&outer).unwrap();
        let real = ioctl_tiocgptpeer(&outer, flags).unwrap();
        let mut size = tcgetwinsize(&real).unwrap();
        (size.ws_row, size.ws_col) = (17, 93);
        tcsetwinsize(&outer, size).unwrap();

        let (mut pty, slave) = Pty::like(real.as_fd()).unwrap();
        assert_eq!(tcgetwinsize(&slave).unwrap().ws_col, 93);
        assert!(rustix::termios::isatty(&slave) && pty.adds_returns());
        size.ws_col = 41;
        tcsetwinsize(&outer, size).unwrap();
        pty.sizer().unwrap().resize();
        assert_eq!(tcgetwinsize(&slave).unwrap().ws_col, 41);

        let mut raw = tcgetattr(&slave).unwrap();
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
        pty.mirror();
        assert!(!pty.adds_returns());
        let mut slave = std::fs::File::from(slave);
        slave.write_all(b"x\n").unwrap();
        let mut got = [0; 8];
        let n = rustix::io::read(pty.master(), &mut got).unwrap();
        assert_eq!(&got[..n], b"x\n");
    }
}
