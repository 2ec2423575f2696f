//! What is too much for one look is told by the next, and what is too much to remember is told together: nothing is lost,
//! nothing is said twice.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_store::Error;
use proptest::prelude::*;

use super::Grievance;
use super::event::{Event, Failure};
use super::memory::{Looked, MESSAGES, Memory, Pace, ROOM};
use super::notice::{About, Kind};
use super::rule::Rule;
use super::tests::{MINUTE, failure, pace};

fn names(channels: usize) -> Vec<String> {
    (0..channels).map(|i| format!("channel-{i}")).collect()
}

fn failed(number: u64, minute: i64, words: &str) -> Event {
    Event::Failed(Box::new(failure(number, minute, words)))
}

/// As the store keeps it in between.
fn kept(memory: &Memory) -> (Memory, usize) {
    let text = serde_json::to_string(memory).unwrap();
    (serde_json::from_str(&text).unwrap(), text.len())
}

#[test]
fn what_one_look_can_t_tell_the_next_ones_do() {
    let channels = names(3);
    let pace = Pace { most_per_hour: 100, ..pace() };
    let events: Vec<Event> =
        (0..30).map(|i| failed(i + 1, 0, &format!("critical candidate v1:{i} new"))).collect();
    let mut memory = Memory::default();
    let (mut sizes, mut told) = (Vec::new(), BTreeMap::<String, u64>::new());
    let mut ids = std::collections::BTreeSet::new();
    let mut events = events.as_slice();
    loop {
        let looked = memory.look(&Rule::usual(), &channels, &pace, events, 0);
        events = &[];
        sizes.push(looked.notices.len());
        for (channel, notice) in &looked.notices {
            assert_eq!((notice.kind, notice.about, notice.count), (Kind::Opened, About::Group, 1));
            *told.entry(channel.clone()).or_default() += 1;
            assert!(ids.insert((notice.incident.clone(), notice.sequence)));
        }
        memory = kept(&memory).0;
        if looked.notices.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [MESSAGES, MESSAGES, MESSAGES, MESSAGES, 10, 0]);
    assert_eq!(told.into_values().collect::<Vec<_>>(), [30, 30, 30]);
    // fifty that are over in one look, each with something left to say
    let more: Vec<Event> =
        (0..30).map(|i| failed(i + 100, 1, &format!("critical candidate v1:{i}"))).collect();
    memory.look(&Rule::usual(), &channels, &pace, &more, MINUTE);
    let mut left = 0;
    for _ in 0..5 {
        let looked = memory.look(&Rule::usual(), &channels, &pace, &[], 90 * MINUTE);
        assert!(looked.notices.len() <= MESSAGES);
        left += looked.notices.iter().map(|(_, it)| it.count).sum::<u64>();
        memory = kept(&memory).0;
    }
    assert_eq!((left, memory), (90, Memory::default()));
}

#[test]
fn what_is_remembered_is_bounded() {
    let channels = names(12);
    let pace = Pace { most_per_hour: 1000, ..pace() };
    let rate = Rule {
        name: "many".into(),
        severity: vec![coroner_diagnosis::Severity::Low],
        rate: Some((200, Duration::from_secs(3600))),
        ..Rule::default()
    };
    let rules = [Rule::usual(), vec![rate]].concat();
    let large = |number: u64, words: &str| {
        let mut it: Failure = failure(number, 0, words);
        it.sample.cause = "\u{1d54f}".repeat(400);
        it.sample.fix = "\u{1d54f}".repeat(400);
        it.sample.evidence = vec![it.sample.evidence.remove(0); 5];
        it.sample.evidence.iter_mut().for_each(|line| line.text = "\u{1d54f}".repeat(300));
        Event::Failed(Box::new(it))
    };
    let mut memory = Memory::default();
    let mut told = BTreeMap::<String, u64>::new();
    let mut note = |looked: Looked| {
        let none = looked.notices.is_empty();
        looked.notices.into_iter().for_each(|(channel, it)| *told.entry(channel).or_default() += it.count);
        none
    };
    for some in 0..8 {
        let events: Vec<Event> = (0..16)
            .flat_map(|i| {
                let number = some * 32 + 2 * i + 1;
                [
                    large(number, &format!("critical candidate v1:{number} new")),
                    large(number + 1, &format!("low candidate v1:low-{number}")),
                ]
            })
            .collect();
        note(memory.look(&rules, &channels, &pace, &events, 0));
        let bytes;
        (memory, bytes) = kept(&memory);
        assert!(bytes <= ROOM, "{bytes} bytes");
    }
    // what is told together has its pauses
    for minute in [0, 20, 55, 200] {
        while !note(memory.look(&rules, &channels, &pace, &[], minute * MINUTE)) {}
    }
    // sixteen in each of eight looks, apart or together; what counts for a rate was not enough for it
    assert_eq!(told, channels.iter().map(|name| (name.clone(), 128)).collect());
}

#[test]
fn a_clock_that_went_back_silences_nobody() {
    let mut memory = Memory::default();
    let look = |memory: &mut Memory, events: &[Event], minute: i64| {
        let looked = memory.look(&Rule::usual(), &names(1), &pace(), events, minute * MINUTE);
        looked.notices.into_iter().map(|(_, it)| (it.kind, it.about, it.count)).collect::<Vec<_>>()
    };
    let five: Vec<Event> = (1..=5).map(|i| failed(i, 600, &format!("critical candidate v1:{i}"))).collect();
    assert_eq!(look(&mut memory, &five, 600).len(), 5, "as many as an hour may have");
    // ten hours earlier, as it turns out
    let again = [failed(6, 1, "critical candidate v1:1")];
    assert_eq!(look(&mut memory, &again, 1), []);
    assert_eq!(look(&mut memory, &[], 16), [(Kind::More, About::Group, 1)]);
    assert_eq!(look(&mut memory, &[], 17), []);
    let another = [failed(7, 63, "critical candidate v1:7")];
    assert_eq!(look(&mut memory, &another, 63), [(Kind::Opened, About::Group, 1)]);
}

#[test]
fn the_same_complaint_is_made_once() {
    let mut grievance = Grievance::default();
    let too_large = || Err(Error::StepTooLarge { what: "131 changes at once".into() });
    let said: Vec<_> =
        [Err(Error::Closed), Err(Error::Closed), too_large(), too_large(), Ok(()), Ok(()), too_large()]
            .map(|result| grievance.news(result).is_some())
            .into();
    assert_eq!(said, [true, false, true, false, false, false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However few messages a look may tell and however little may be remembered.
    #[test]
    fn each_failure_is_told_once_in_small_steps(
        story in prop::collection::vec((0..180_i64, 0..40_usize, 0..5_usize, 0..4_usize), 1..100),
        messages in 1..5_usize,
        room in 6_000..20_000_usize,
    ) {
        let (rules, channels) = ([Rule::default()], names(2));
        let pace = Pace { messages, room, ..pace() };
        let mut memory = Memory::default();
        let mut told = 0;
        let mut ids = std::collections::BTreeSet::new();
        for minute in (0..4000).step_by(10) {
            let some = story.iter().enumerate().filter(|(_, it)| it.0 / 10 == minute / 10);
            let mut events: Vec<Event> = some.map(|(number, (at, cause, origin, severity))| {
                let (severity, origin) = (
                    coroner_diagnosis::Severity::ALL[*severity],
                    coroner_diagnosis::Origin::ALL[*origin],
                );
                failed(number as u64 + 1, *at, &format!("{severity} {origin} v1:{cause}"))
            }).collect();
            loop {
                let looked = memory.look(&rules, &channels, &pace, &events, (minute + 10) * MINUTE);
                events.clear();
                let bytes;
                (memory, bytes) = kept(&memory);
                prop_assert!(bytes <= room, "{bytes} bytes in {room}");
                prop_assert!(looked.notices.len() <= messages);
                for (_, notice) in &looked.notices {
                    told += notice.count;
                    prop_assert!(ids.insert((notice.incident.clone(), notice.sequence)), "an id is given once");
                }
                if looked.notices.is_empty() {
                    break;
                }
            }
        }
        prop_assert_eq!(told, 2 * story.len() as u64);
        prop_assert_eq!(memory, Memory::default(), "when all is over, nothing is left");
    }
}
