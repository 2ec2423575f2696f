//! What a message says, before it is put in the form of a channel. This is what lies in the outbox, and what a webhook
//! is sent.

use coroner_diagnosis::{Category, Origin, Severity};
use serde::{Deserialize, Serialize};

use super::event::{Sample, cut};

/// So much of a cause stands in a subject.
const SUBJECT_CAUSE: usize = 90;

/// Why there is a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The first of an incident.
    Opened,
    /// It goes on: how many more there were.
    More,
    /// It goes on, and is worse than was told.
    Worse,
    /// Its group was resolved, and it came again.
    Reopened,
    /// It has not come again for a while.
    Over,
    /// Somebody tries whether messages arrive.
    Test,
}

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum About {
    /// Failures of one cause.
    Group,
    /// Failures of several causes with one origin, which is not the candidate.
    Outage,
    /// More failures in a time than a rule allows.
    Rate,
    /// Too many different failures to tell one by one.
    Flood,
    /// A run of the loop that was stopped.
    Loop,
    /// Nothing: somebody tries whether messages arrive.
    Test,
}

/// One cause of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) signature: String,
    pub(crate) cause: String,
    /// Failures with it, so far.
    pub(crate) count: u64,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) kind: Kind,
    pub(crate) about: About,
    pub(crate) incident: String,
    /// 1 for the first message of an incident.
    pub(crate) sequence: u32,
    /// Of the first message: those that follow have the same, so that they stand in one thread.
    pub(crate) subject: String,
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) category: Option<Category>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) origin: Option<Origin>,
    /// Failures that this message tells of and none before it.
    pub(crate) count: u64,
    /// Failures of the incident so far.
    pub(crate) total: u64,
    pub(crate) is_new: bool,
    /// Machines, as far as they are known; ten at most.
    pub(crate) hosts: Vec<String>,
    /// The causes, the most frequent first; five at most.
    pub(crate) causes: Vec<Cause>,
    /// How many causes there are.
    pub(crate) cause_count: u64,
    /// Milliseconds since 1970.
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// Time on the clock that all of them took.
    pub(crate) lost_ms: u64,
    /// The group to look at, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) signature: Option<String>,
    /// The latest failure, or what is told instead of one.
    pub(crate) latest: Sample,
}

impl Notice {
    /// What a mail is called: `[coroner] critical: CUDA out of memory, 14 experiments on gpu-07 (new)`.
    pub(crate) fn subject_of_first(&self) -> String {
        let cause = headline(&self.latest.cause);
        let text = match self.about {
            About::Test => return "[coroner] test: messages arrive here".to_owned(),
            About::Loop => format!("loop stopped: {cause}"),
            About::Flood => "many different failures at once".to_owned(),
            About::Rate => format!("{} failures ({}), last {cause}", self.total, self.rule),
            About::Group | About::Outage => {
                format!("{cause}, {}{}", self.how_many(self.total), self.where_())
            }
        };
        let news = match self.kind {
            Kind::Reopened => " (reopened)",
            _ if self.is_new => " (new)",
            _ => "",
        };
        one_line(&format!("[coroner] {}: {text}{news}", self.severity))
    }

    /// The subject as it is sent.
    pub(crate) fn subject(&self) -> String {
        if self.sequence > 1 { format!("Re: {}", self.subject) } else { self.subject.clone() }
    }

    fn how_many(&self, count: u64) -> String {
        let (one, many) = match self.about {
            About::Loop => ("stop", "stops"),
            _ => ("experiment", "experiments"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }

    /// ` on gpu-07`, where that is known.
    fn where_(&self) -> String {
        match self.hosts.as_slice() {
            [] => String::new(),
            [host] => format!(" on {host}"),
            hosts => format!(" on {} machines", hosts.len()),
        }
    }

    /// The first line: what happened.
    pub(crate) fn what(&self) -> String {
        let more = self.how_many(self.count);
        let text = match (self.kind, self.about) {
            (Kind::Test, _) => "This is a test. Messages of coroner arrive here.".to_owned(),
            (Kind::Opened, About::Loop) => format!("{} It tests no candidates any more.", self.latest.cause),
            (Kind::More | Kind::Worse | Kind::Reopened, About::Loop) => {
                format!("Stopped again. {}", self.latest.cause)
            }
            (Kind::Opened, About::Flood) => {
                format!("Too many different failures to tell one by one. The latest: {}", self.latest.cause)
            }
            (Kind::Opened, About::Rate) => {
                format!("{} failures in a short time. The latest: {}", self.total, self.latest.cause)
            }
            (Kind::Opened, _) => self.latest.cause.clone(),
            (Kind::More, _) => {
                format!("{more} more, {} in all. The latest: {}", self.total, self.latest.cause)
            }
            (Kind::Worse, _) => {
                format!("Now {}: {more} more, {} in all. {}", self.severity, self.total, self.latest.cause)
            }
            (Kind::Reopened, _) => format!("It was resolved, and came again. {}", self.latest.cause),
            (Kind::Over, _) if self.count > 0 => {
                format!("Over, as it seems: {more} more, {} in all, and none since.", self.total)
            }
            (Kind::Over, _) => {
                format!("Over, as it seems: {} in all, and none since.", self.how_many(self.total))
            }
        };
        one_line(&text)
    }

    /// The second line: whose fault it was, what it cost, and since when.
    pub(crate) fn whose(&self) -> String {
        if self.about == About::Test {
            return String::new();
        }
        let mut parts = vec![self.severity.to_string()];
        parts.extend(self.category.map(|category| category.to_string()));
        parts.extend(self.origin.map(|origin| format!("fault of: {origin}")));
        if self.about != About::Loop {
            parts.push(format!("{}{}", self.how_many(self.total), self.where_()));
        } else if let [host] = self.hosts.as_slice() {
            parts.push(format!("on {host}"));
        }
        if self.lost_ms >= 1000 {
            parts.push(format!("{} lost", span(self.lost_ms)));
        }
        let (first, last) = (clock(self.first_at), clock(self.last_at));
        parts.push(match self.total {
            0 | 1 => last,
            _ => format!("{first} to {last}"),
        });
        one_line(&parts.join(" · "))
    }

    /// Where the experiment and the group stand on the desk, if it has an address that people reach.
    pub(crate) fn links(&self, desk: Option<&str>) -> Vec<(&'static str, String)> {
        let Some(desk) = desk.map(|url| url.trim_end_matches('/')) else { return Vec::new() };
        let mut links = Vec::new();
        if self.latest.number > 0 && self.about != About::Loop {
            links.push(("Experiment", format!("{desk}/experiments/{}", self.latest.number)));
        }
        if let Some(signature) = &self.signature {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~:".contains(c);
            if signature.chars().all(plain) {
                links.push(("Group", format!("{desk}/groups/{signature}")));
            }
        }
        if links.is_empty() {
            links.push(("Desk", format!("{desk}/")));
        }
        links
    }

    /// What to type to see more, on a machine that has the store.
    pub(crate) fn command(&self) -> Option<String> {
        match self.about {
            About::Test | About::Loop => None,
            _ => Some(format!("coroner show {}", self.latest.number)),
        }
    }

    /// Every text that came from outside, to be masked or cleaned.
    pub(crate) fn texts(&mut self) -> Vec<&mut String> {
        let mut all =
            vec![&mut self.subject, &mut self.latest.cause, &mut self.latest.fix, &mut self.latest.id];
        all.extend(self.causes.iter_mut().map(|cause| &mut cause.cause));
        all.extend(self.latest.evidence.iter_mut().map(|line| &mut line.text));
        all.extend(self.hosts.iter_mut());
        all
    }
}

/// The first sentence of a cause, without its full stop.
fn headline(cause: &str) -> String {
    let line = cause.lines().next().unwrap_or_default();
    let sentence = line.split_once(". ").map_or(line, |(sentence, _)| sentence);
    cut(sentence.trim_end_matches(['.', ' ', ':']), SUBJECT_CAUSE)
}

/// Nothing in it ends a line, and nothing hides.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String =
        text.chars().map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect();
    crate::page::made_visible(spaced)
}

/// `4 min`, `2 h 10 min`, `3 d 4 h`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

pub(crate) fn clock(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

impl Notice {
    /// What somebody sends to see whether messages arrive.
    pub(crate) fn test(incident: &str, at: i64) -> Self {
        let mut notice = Self {
            kind: Kind::Test,
            about: About::Test,
            incident: incident.to_owned(),
            sequence: 1,
            subject: String::new(),
            rule: "test".to_owned(),
            severity: Severity::Low,
            category: None,
            origin: None,
            count: 0,
            total: 0,
            is_new: false,
            hosts: Vec::new(),
            causes: Vec::new(),
            cause_count: 0,
            first_at: at,
            last_at: at,
            lost_ms: 0,
            signature: None,
            latest: Sample::default(),
        };
        notice.subject = notice.subject_of_first();
        notice
    }
}
