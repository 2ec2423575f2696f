//! What is remembered between looks: for each channel the incidents that are open, and what a rate is counted from.
//!
//! Pure: the same memory, events and moment give the same messages, whoever looks and whenever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coroner_diagnosis::Origin;
use serde::{Deserialize, Serialize};

use super::event::{Event, Failure, Stopped};
use super::incident::{Incident, Key};
use super::notice::Notice;
use super::rule::Rule;

/// No store has to take more messages in one step ...
pub(super) const MESSAGES: usize = 20;
/// ... nor to keep more bytes of what is remembered.
pub(super) const ROOM: usize = 350_000;
/// No more incidents are open at a time: what comes beyond is told together.
const INCIDENTS: usize = 300;
/// So many failures are kept for one rate.
pub(super) const WINDOW: usize = 200;
/// A failure that is judged anew is news for so long after its end, in milliseconds.
const ANEW: i64 = 15 * 60_000;
const HOUR: i64 = 3_600_000;
/// Windows are halved until they are empty, and after these steps so are incidents.
const HALVED_WINDOWS: usize = 2 + WINDOW.ilog2() as usize + 1;
const SHRINKING: usize = HALVED_WINDOWS + INCIDENTS.ilog2() as usize + 1;

/// What decides when something is told.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// After a message of an incident there is no further one for so long; the next pause is twice as long.
    pub(crate) quiet: Duration,
    /// An incident is over when nothing has come for so long.
    pub(crate) over: Duration,
    /// Failures of one origin that is not the candidate, no further apart than this, are one outage.
    pub(crate) outage: Duration,
    /// So many incidents are opened in an hour; what comes beyond is told together.
    pub(crate) most_per_hour: usize,
    /// A look tells no more messages than this; what else is due is told by the next.
    pub(crate) messages: usize,
    /// No more bytes are remembered, as JSON.
    pub(crate) room: usize,
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    channels: BTreeMap<String, Channel>,
}

/// What is remembered for one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Channel {
    incidents: Vec<Incident>,
    /// By rule: failures that fit, and are not told yet.
    windows: BTreeMap<String, Vec<Incident>>,
    /// When incidents of the last hour were opened.
    opened: Vec<i64>,
}

/// What came of a look.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Looked {
    /// Messages and the channels that they are for, in their order.
    pub(crate) notices: Vec<(String, Notice)>,
    /// Experiments by number, and the channel that has counted them.
    pub(crate) counted: Vec<(u64, String)>,
}

impl Memory {
    /// Takes note of what happened, and says what is to be told.
    pub(crate) fn look(
        &mut self,
        rules: &[Rule],
        channels: &[String],
        pace: &Pace,
        events: &[Event],
        now: i64,
    ) -> Looked {
        let mut looked = Looked::default();
        // no clock of another machine keeps an incident open
        let events: Vec<Event> = events.iter().map(|event| event.not_after(now)).collect();
        // what is no longer configured is forgotten; others that share the store may know it, so not at once
        self.channels.retain(|name, it| channels.contains(name) || it.is_fresh(pace, now));
        for name in channels {
            let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.speaks_to(name)).collect();
            let mut view = View { name, rules: &rules, pace, now, looked: &mut looked };
            let channel = self.channels.entry(name.clone()).or_default();
            channel.not_after(now);
            channel.opened.retain(|at| *at > now - HOUR);
            for event in &events {
                match event {
                    Event::Failed(failure) => channel.failed(&mut view, failure),
                    Event::Stopped(stopped) => channel.stopped(&view, stopped),
                }
            }
            channel.pass_time(&mut view);
        }
        self.channels.retain(|_, it| *it != Channel::default());
        self.fit(pace.room, now);
        looked
    }

    /// Forgets what can best be done without until the rest fits into so many bytes: details of what is told already, then all
    /// but the beginnings of texts, then what counts for rates, the oldest first, and at last incidents, those that have
    /// been silent for longest. What these had yet to tell is told together.
    fn fit(&mut self, room: usize, now: i64) {
        for step in 0..SHRINKING {
            if serde_json::to_string(self).is_ok_and(|text| text.len() <= room) {
                return;
            }
            for (name, channel) in &mut self.channels {
                match step {
                    0 => channel.incidents.iter_mut().for_each(Incident::forget_what_is_told),
                    1 => channel.incidents.iter_mut().for_each(Incident::shorten),
                    2..HALVED_WINDOWS => channel.halve_windows(),
                    _ => channel.join_the_silent(name, now),
                }
            }
        }
    }
}

/// Where a channel's events are taken note of.
struct View<'a> {
    name: &'a str,
    rules: &'a [&'a Rule],
    pace: &'a Pace,
    now: i64,
    looked: &'a mut Looked,
}

impl Channel {
    /// What a clock that was ahead has written as yet to come was now: nothing waits for a clock that went back.
    fn not_after(&mut self, now: i64) {
        self.opened.iter_mut().for_each(|at| *at = now.min(*at));
        let all = self.incidents.iter_mut().chain(self.windows.values_mut().flatten());
        all.for_each(|incident| incident.not_after(now));
    }

    fn halve_windows(&mut self) {
        self.windows.values_mut().for_each(|window| drop(window.drain(..window.len().div_ceil(2))));
        self.windows.retain(|_, window| !window.is_empty());
    }

    /// Half of the incidents are no longer kept apart.
    fn join_the_silent(&mut self, name: &str, now: i64) {
        let (mut floods, mut apart): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.incidents).into_iter().partition(|it| it.key == Key::Flood);
        apart.sort_by_key(|it| std::cmp::Reverse(it.last_at));
        let silent = apart.split_off(apart.len() / 2);
        for it in silent.into_iter().filter(Incident::has_more_to_tell) {
            if floods.is_empty() {
                floods.push(Incident::flood(name, now));
            }
            floods[0].take_over(it);
        }
        apart.append(&mut floods);
        self.incidents = apart;
    }

    fn is_fresh(&self, pace: &Pace, now: i64) -> bool {
        self.incidents.iter().any(|it| now < it.last_at + 2 * millis(pace.over))
    }

    fn failed(&mut self, view: &mut View<'_>, it: &Failure) {
        let known = it.told.iter().any(|name| name == view.name);
        if known || it.is_quiet || (it.again && view.now - it.at > ANEW) {
            return;
        }
        let counted = (it.sample.number, view.name.to_owned());
        if view.looked.counted.contains(&counted) {
            return;
        }
        // whatever belongs to an open incident is told with it, and needs no rule of its own
        let open = self.incidents.iter().position(|incident| incident.takes(it));
        let rule = view.rules.iter().find(|rule| rule.rate.is_none() && rule.fits(it));
        if open.is_none() && rule.is_none() {
            let rate = view.rules.iter().find(|rule| rule.rate.is_some() && rule.fits(it)).copied();
            if let Some(rule) = rate {
                view.looked.counted.push(counted);
                self.rated(view, rule, it);
            }
            return;
        }
        view.looked.counted.push(counted);
        let place = open.or_else(|| self.outage(view, it)).or_else(|| self.full(view));
        match (place, rule) {
            (Some(place), _) => self.incidents[place].add(it),
            (None, Some(rule)) => {
                self.opened.push(view.now);
                let key = Key::Group(it.signature.clone());
                let mut incident = Incident::new(key, view.name, &rule.name, it);
                incident.add(it);
                self.incidents.push(incident);
            }
            (None, None) => {}
        }
    }

    /// The incident of the same origin that this belongs to: what fails beside it is the same outage.
    fn outage(&self, view: &View<'_>, it: &Failure) -> Option<usize> {
        let near = |incident: &Incident| {
            it.origin != Origin::Candidate
                && incident.origin == Some(it.origin)
                && matches!(incident.key, Key::Group(_))
                && (it.at - incident.last_at).abs() <= millis(view.pace.outage)
        };
        self.incidents.iter().position(near)
    }

    /// The incident of what can't be told one by one, if there are too many.
    fn full(&mut self, view: &View<'_>) -> Option<usize> {
        let flood = self.incidents.iter().position(|incident| incident.key == Key::Flood);
        if self.opened.len() < view.pace.most_per_hour && self.incidents.len() < INCIDENTS {
            return None;
        }
        flood.or_else(|| {
            self.incidents.push(Incident::flood(view.name, view.now));
            Some(self.incidents.len() - 1)
        })
    }

    /// A failure that counts for a rate.
    fn rated(&mut self, view: &View<'_>, rule: &Rule, it: &Failure) {
        let Some((most, within)) = rule.rate else { return };
        let key = Key::Rate(rule.name.clone());
        if let Some(open) = self.incidents.iter_mut().find(|incident| incident.key == key) {
            return open.add(it);
        }
        let window = self.windows.entry(rule.name.clone()).or_default();
        let mut one = Incident::new(key, view.name, &rule.name, it);
        one.count(it);
        window.iter_mut().for_each(Incident::thin_out);
        window.push(one);
        let first = it.at - millis(within);
        window.retain(|it| it.last_at >= first);
        if window.len() > WINDOW {
            window.remove(0);
        }
        if window.len() < most as usize {
            return;
        }
        let mut all = std::mem::take(window).into_iter();
        let Some(mut incident) = all.next() else { return };
        all.for_each(|other| incident.join(other));
        self.opened.push(view.now);
        incident.open();
        self.incidents.push(incident);
    }

    fn stopped(&mut self, view: &View<'_>, it: &Stopped) {
        let Some(rule) = view.rules.iter().find(|rule| rule.loop_stopped) else { return };
        let key = Key::Loop(it.run);
        let place = self.incidents.iter().position(|incident| incident.key == key).unwrap_or_else(|| {
            self.incidents.push(Incident::empty(key, view.name, &rule.name, it.at));
            self.incidents.len() - 1
        });
        self.incidents[place].add_stop(it);
    }

    /// Pauses that have passed, and incidents that are over, as many as are told in one look.
    fn pass_time(&mut self, view: &mut View<'_>) {
        let mut over = BTreeSet::new();
        for (place, incident) in self.incidents.iter_mut().enumerate() {
            if view.looked.notices.len() >= view.pace.messages {
                break;
            }
            let since = incident.last_at.max(incident.told_at);
            let silent = incident.is_told() && view.now >= since + millis(view.pace.over);
            if silent {
                over.insert(place);
            }
            let notice = if silent { incident.last_words() } else { incident.due(view.pace, view.now) };
            view.looked.notices.extend(notice.map(|notice| (view.name.to_owned(), notice)));
        }
        let mut place = 0;
        self.incidents.retain(|_| {
            place += 1;
            !over.contains(&(place - 1))
        });
        // what no longer counts for a rate
        for (name, window) in &mut self.windows {
            let rate = view.rules.iter().find(|rule| rule.name == *name).and_then(|rule| rule.rate);
            window.retain(|it| rate.is_some_and(|(_, within)| it.last_at >= view.now - millis(within)));
        }
        self.windows.retain(|_, window| !window.is_empty());
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX >> 8).min(i64::MAX >> 8)
}
