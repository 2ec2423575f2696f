//! Ends runs from another thread.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::{EventfdFlags, eventfd};

/// Ends the runs that it was given to, at once or as soon as they begin. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    listening: Vec<Weak<OwnedFd>>,
}

impl Stop {
    /// One that nobody has used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends them all.
    pub fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        for listener in state.listening.drain(..).filter_map(|weak| weak.upgrade()) {
            _ = rustix::io::write(&*listener, &1_u64.to_ne_bytes());
        }
    }

    /// Has it been used?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Becomes readable when it is used.
    pub(super) fn listener(&self) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = u32::from(state.stopped);
        let listener = Arc::new(eventfd(first, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        state.listening.retain(|weak| weak.strong_count() > 0);
        state.listening.push(Arc::downgrade(&listener));
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(fd: &OwnedFd) -> bool {
        rustix::io::read(fd, &mut [0; 8]).is_ok()
    }

    #[test]
    fn whoever_listens_hears_it_before_and_after() {
        let stop = Stop::new();
        let (one, two) = (stop.listener().unwrap(), stop.clone().listener().unwrap());
        assert!(!is_readable(&one) && !stop.is_stopped());
        stop.clone().stop();
        assert!(is_readable(&one) && is_readable(&two) && stop.is_stopped());
        assert!(is_readable(&stop.listener().unwrap()), "a run that begins later ends too");
    }
}
