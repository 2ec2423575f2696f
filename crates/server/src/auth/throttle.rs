//! Whoever guesses passwords waits longer after each wrong one: by name and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong words that cost nothing: people mistype.
const FREE: u32 = 5;
/// The wait doubles with each further one, up to this.
const LONGEST: Duration = Duration::from_secs(900);
/// After so long without a wrong word all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(3600);
/// So many names and addresses are remembered.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    wrong: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Throttle {
    /// How long this one has still to wait.
    pub(super) fn wait(&self, name: &str, from: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        keys(name, from)
            .iter()
            .filter_map(|key| {
                let (count, last) = wrong.get(key)?;
                let wait = Duration::from_secs(1 << count.checked_sub(FREE)?.min(10)).min(LONGEST);
                wait.checked_sub(now.duration_since(*last)).filter(|left| !left.is_zero())
            })
            .max()
    }

    pub(super) fn was_wrong(&self, name: &str, from: IpAddr, now: Instant) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= REMEMBERED {
            wrong.retain(|_, (_, last)| now.duration_since(*last) < FORGIVEN);
        }
        if wrong.len() >= REMEMBERED {
            // many guess at once: the oldest half is let go
            let mut times: Vec<Instant> = wrong.values().map(|(_, last)| *last).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            wrong.retain(|_, (_, last)| *last > middle);
        }
        for key in keys(name, from) {
            let (count, last) = wrong.entry(key).or_insert((0, now));
            *count = if now.duration_since(*last) > FORGIVEN { 1 } else { count.saturating_add(1) };
            *last = now;
        }
    }

    pub(super) fn was_right(&self, name: &str, from: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, from) {
            wrong.remove(&key);
        }
    }
}

fn keys(name: &str, from: IpAddr) -> [String; 2] {
    let name: String = name.chars().take(64).collect();
    // whoever has one address of IPv6 has the whole network
    let from = match from {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{:x?}", &v6.segments()[..4]),
    };
    [format!("name {name} {from}"), format!("from {from}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_becomes_slower_and_is_forgiven() {
        let (throttle, from) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        let start = Instant::now();
        for _ in 0..FREE - 1 {
            throttle.was_wrong("ada", from, start);
        }
        assert_eq!(throttle.wait("ada", from, start), None);
        let mut waits = Vec::new();
        for _ in 0..12 {
            throttle.was_wrong("ada", from, start);
            waits.push(throttle.wait("ada", from, start).unwrap().as_secs());
        }
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert_eq!(waits[11], 900);
        assert!(throttle.wait("eve", from, start).is_some(), "from the same address");
        assert_eq!(throttle.wait("ada", IpAddr::from([10, 0, 0, 2]), start), None, "she may still log in");
        assert_eq!(throttle.wait("ada", from, start + LONGEST), None);
        throttle.was_right("ada", from);
        assert_eq!(throttle.wait("ada", from, start), None);
        for i in 0..2 * REMEMBERED as u32 {
            throttle.was_wrong(
                "x",
                IpAddr::from(i.to_be_bytes()),
                start + Duration::from_millis(u64::from(i)),
            );
        }
        assert!(throttle.wrong.lock().unwrap().len() <= REMEMBERED + 2);
    }
}
