//! An incident: failures that are told together, in one thread, with pauses that grow.

use coroner_diagnosis::{Category, Origin, Severity};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::event::{Failure, Sample, Stopped, cut};
use super::memory::{Pace, millis};
use super::notice::{About, Cause, Kind, Notice};

/// So many causes are kept apart.
const CAUSES: usize = 20;
/// So many are named in a message.
const NAMED: usize = 5;
/// So many machines are named.
const HOSTS: usize = 10;
/// So much of a text stays where there is no room for more.
const BEGINNING: usize = 80;
/// No pause is longer, unless the shortest is.
const LONGEST: i64 = 4 * 3_600_000;

/// By what failures belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Key {
    /// A signature; further ones of the same origin may join.
    Group(String),
    /// A rule that counts.
    Rate(String),
    /// A run of the loop.
    Loop(u64),
    /// Too many to tell apart.
    Flood,
}

/// Failures that are told together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) key: Key,
    rule: String,
    pub(crate) origin: Option<Origin>,
    category: Option<Category>,
    severity: Severity,
    /// The worst that was told.
    told_severity: Option<Severity>,
    first_at: i64,
    pub(crate) last_at: i64,
    pub(crate) told_at: i64,
    /// The pause after the last message, in milliseconds.
    pause: i64,
    sequence: u32,
    subject: String,
    total: u64,
    untold: u64,
    is_new: bool,
    /// The latest failure opened a group again that was resolved.
    reopened: bool,
    hosts: Vec<String>,
    causes: Vec<Cause>,
    cause_count: u64,
    lost_ms: u64,
    latest: Sample,
    /// To be told by the next look that has room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urgent: Option<Kind>,
}

impl Incident {
    pub(crate) fn new(key: Key, channel: &str, rule: &str, it: &Failure) -> Self {
        let made_of = format!("{channel}\n{key:?}\n{}\n{}", it.sample.number, it.at);
        Self {
            origin: matches!(key, Key::Group(_)).then_some(it.origin),
            category: matches!(key, Key::Group(_)).then_some(it.category),
            ..Self::made(key, &made_of, rule, it.at, it.severity)
        }
    }

    /// One that begins at a moment, not with a failure.
    pub(crate) fn empty(key: Key, channel: &str, rule: &str, at: i64) -> Self {
        let made_of = format!("{channel}\n{key:?}\n{at}");
        let severity = if matches!(key, Key::Loop(_)) { Severity::Critical } else { Severity::Low };
        Self::made(key, &made_of, rule, at, severity)
    }

    /// What is too much to be told apart, from now on.
    pub(crate) fn flood(channel: &str, now: i64) -> Self {
        Self::empty(Key::Flood, channel, "too many to tell one by one", now)
    }

    fn made(key: Key, made_of: &str, rule: &str, at: i64, severity: Severity) -> Self {
        // the same whoever looks: what it is made of tells it from all others
        let hash = Sha256::digest(made_of.as_bytes());
        Self {
            id: crate::auth::hex(&hash[..8]),
            key,
            rule: rule.to_owned(),
            origin: None,
            category: None,
            severity,
            told_severity: None,
            first_at: at,
            last_at: at,
            told_at: at,
            pause: 0,
            sequence: 0,
            subject: String::new(),
            total: 0,
            untold: 0,
            is_new: false,
            reopened: false,
            hosts: Vec::new(),
            causes: Vec::new(),
            cause_count: 0,
            lost_ms: 0,
            latest: Sample::default(),
            urgent: None,
        }
    }

    /// Is this a failure of a cause that is told with it already?
    pub(crate) fn takes(&self, it: &Failure) -> bool {
        match &self.key {
            Key::Group(signature) => {
                *signature == it.signature || self.causes.iter().any(|cause| cause.signature == it.signature)
            }
            // in a flood the causes are not kept apart for good: only those that it names are its own
            Key::Flood => self.causes.iter().any(|cause| cause.signature == it.signature),
            Key::Rate(_) | Key::Loop(_) => false,
        }
    }

    /// Counts a failure, and whether it is to be told at once.
    pub(crate) fn add(&mut self, it: &Failure) {
        self.count(it);
        let urgent = match self.told_severity {
            None => Some(Kind::Opened),
            Some(_) if it.reopened => Some(Kind::Reopened),
            Some(told) if self.severity < told => Some(Kind::Worse),
            Some(_) => None,
        };
        self.urgent = self.urgent.or(urgent);
    }

    /// Counts a failure, and tells nothing.
    pub(crate) fn count(&mut self, it: &Failure) {
        self.total += 1;
        self.untold += 1;
        self.first_at = self.first_at.min(it.at);
        self.last_at = self.last_at.max(it.at);
        self.lost_ms = self.lost_ms.saturating_add(it.wall_ms);
        self.is_new |= it.is_new && self.sequence == 0;
        self.severity = self.severity.min(it.severity);
        self.reopened = it.reopened;
        self.host(it.host.as_deref());
        self.cause(&it.signature, &it.sample.cause, 1);
        if self.category.is_some_and(|category| category != it.category) {
            self.category = None;
        }
        self.latest = it.sample.clone();
    }

    /// Takes over what another has counted.
    pub(crate) fn join(&mut self, other: Self) {
        self.total += other.total;
        self.untold += other.untold;
        self.last_at = self.last_at.max(other.last_at);
        self.lost_ms = self.lost_ms.saturating_add(other.lost_ms);
        self.is_new |= other.is_new;
        self.severity = self.severity.min(other.severity);
        other.hosts.iter().for_each(|host| self.host(Some(host)));
        other.causes.iter().for_each(|it| self.cause(&it.signature, &it.cause, it.count));
        self.latest = other.latest;
    }

    /// Takes over what another, which is to be forgotten, had yet to tell.
    pub(crate) fn take_over(&mut self, other: Self) {
        self.first_at = self.first_at.min(other.first_at);
        self.join(Self { total: other.untold, ..other });
        if !self.is_told() {
            self.open();
        }
    }

    /// The loop was stopped, or stopped again.
    pub(crate) fn add_stop(&mut self, it: &Stopped) {
        self.total += 1;
        self.untold += 1;
        self.last_at = self.last_at.max(it.at);
        self.lost_ms = it.wall_ms;
        self.host(it.host.as_deref());
        let cause = format!("Run {} of {} was stopped: {}", it.run, it.task, it.reason);
        let fix = format!(
            "Mend what stopped it, then go on where it was: coroner evolve TASK.toml --run {}",
            it.run
        );
        self.latest = Sample { cause, fix, id: format!("run {}", it.run), ..Sample::default() };
        if self.sequence == 0 {
            self.urgent = Some(Kind::Opened);
        }
    }

    /// It is told at once.
    pub(crate) fn open(&mut self) {
        self.urgent = Some(Kind::Opened);
    }

    /// Has it been told?
    pub(crate) fn is_told(&self) -> bool {
        self.sequence > 0
    }

    pub(crate) fn has_more_to_tell(&self) -> bool {
        self.untold > 0
    }

    /// What is said to be yet to come was now.
    pub(crate) fn not_after(&mut self, now: i64) {
        for at in [&mut self.first_at, &mut self.last_at, &mut self.told_at] {
            *at = now.min(*at);
        }
    }

    /// Leaves out the details of a failure that was told.
    pub(crate) fn forget_what_is_told(&mut self) {
        if !self.has_more_to_tell() {
            self.thin_out();
        }
    }

    /// Leaves all texts their beginnings.
    pub(crate) fn shorten(&mut self) {
        self.latest.evidence.clear();
        let causes = self.causes.iter_mut().map(|it| &mut it.cause);
        for text in causes.chain([&mut self.latest.cause, &mut self.latest.fix]) {
            *text = cut(text, BEGINNING);
        }
    }

    /// Leaves out what is only told of the latest.
    pub(crate) fn thin_out(&mut self) {
        self.latest.evidence.clear();
        self.latest.fix.clear();
    }

    /// What is to be told now: what can't wait, or how many more there were once the pause has passed.
    pub(crate) fn due(&mut self, pace: &Pace, now: i64) -> Option<Notice> {
        let passed = self.untold > 0 && now >= self.told_at + self.pause;
        let kind = self.urgent.take().or_else(|| passed.then_some(Kind::More))?;
        let shortest = millis(pace.quiet);
        self.pause = if self.pause == 0 { shortest } else { (self.pause * 2).min(LONGEST.max(shortest)) };
        self.told_at = now;
        Some(self.notice(kind))
    }

    /// What is left to say when it is over: nothing, if all is told and nobody waits for its end.
    pub(crate) fn last_words(&mut self) -> Option<Notice> {
        let ends =
            self.is_outage() || (self.origin.is_some_and(|it| it != Origin::Candidate) && self.sequence > 1);
        match (ends, self.untold) {
            (true, _) => Some(self.notice(Kind::Over)),
            (false, 0) => None,
            (false, _) => Some(self.notice(Kind::More)),
        }
    }

    fn is_outage(&self) -> bool {
        match self.key {
            Key::Group(_) => self.cause_count > 1,
            Key::Rate(_) | Key::Flood => true,
            Key::Loop(_) => false,
        }
    }

    fn notice(&mut self, kind: Kind) -> Notice {
        self.sequence += 1;
        let mut causes = self.causes.clone();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        causes.truncate(NAMED);
        let about = match self.key {
            Key::Group(_) if self.cause_count > 1 => About::Outage,
            Key::Group(_) => About::Group,
            Key::Rate(_) => About::Rate,
            Key::Loop(_) => About::Loop,
            Key::Flood => About::Flood,
        };
        let kind = match (kind, self.reopened) {
            (Kind::Opened, true) => Kind::Reopened,
            (kind, _) => kind,
        };
        let mut notice = Notice {
            kind,
            about,
            incident: self.id.clone(),
            sequence: self.sequence,
            subject: self.subject.clone(),
            rule: self.rule.clone(),
            severity: self.severity,
            category: self.category,
            origin: self.origin,
            count: std::mem::take(&mut self.untold),
            total: self.total,
            is_new: self.is_new,
            hosts: self.hosts.clone(),
            causes,
            cause_count: self.cause_count,
            first_at: self.first_at,
            last_at: self.last_at,
            lost_ms: self.lost_ms,
            signature: match &self.key {
                Key::Group(signature) => Some(signature.clone()),
                _ => None,
            },
            latest: self.latest.clone(),
        };
        if self.subject.is_empty() {
            notice.subject = notice.subject_of_first();
            self.subject.clone_from(&notice.subject);
        }
        self.told_severity = Some(self.told_severity.map_or(self.severity, |told| told.min(self.severity)));
        notice
    }

    fn host(&mut self, host: Option<&str>) {
        if let Some(host) = host
            && self.hosts.len() < HOSTS
            && self.hosts.iter().all(|it| it != host)
        {
            self.hosts.push(host.to_owned());
        }
    }

    fn cause(&mut self, signature: &str, cause: &str, count: u64) {
        match self.causes.iter_mut().find(|it| it.signature == signature) {
            Some(known) => known.count += count,
            None => {
                self.cause_count += 1;
                if self.causes.len() < CAUSES {
                    let (signature, cause) = (signature.to_owned(), cause.to_owned());
                    self.causes.push(Cause { signature, cause, count });
                }
            }
        }
    }
}
