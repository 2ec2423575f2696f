//! What is told, when and how often.

use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use proptest::prelude::*;

use super::event::{Event, Failure, Line, Sample, Stopped};
use super::memory::{Looked, MESSAGES, Memory, Pace, ROOM};
use super::notice::{About, Kind, Notice};
use super::rule::Rule;

pub(super) const MINUTE: i64 = 60_000;

/// What it shows, what fails in which minute, and what is told in which.
type Case = (&'static str, Vec<(i64, &'static str)>, Vec<&'static str>);

pub(super) fn pace() -> Pace {
    Pace {
        quiet: Duration::from_secs(15 * 60),
        over: Duration::from_secs(3600),
        outage: Duration::from_secs(600),
        most_per_hour: 5,
        messages: MESSAGES,
        room: ROOM,
    }
}

/// `high infrastructure v1:a`, with `new`, `reopened`, `muted`, `loop`, `again` behind it.
pub(super) fn failure(number: u64, minute: i64, words: &str) -> Failure {
    let mut parts = words.split(' ');
    let mut next = || parts.next().unwrap();
    let (severity, origin, signature) = (next().parse().unwrap(), next().parse().unwrap(), next().to_owned());
    let has = |word| words.split(' ').any(|it| it == word);
    Failure {
        sample: Sample {
            number,
            id: format!("exp-{number}"),
            cause: format!("It died of {signature}. And so on."),
            fix: "Mend it.".into(),
            evidence: vec![Line { source: "log".into(), line: 7, text: "RuntimeError".into() }],
        },
        signature,
        severity,
        category: Category::RuntimeError,
        origin,
        kind: "train".into(),
        is_new: has("new"),
        reopened: has("reopened"),
        is_quiet: has("muted"),
        of_loop: has("loop"),
        host: Some("gpu-07".into()),
        at: minute * MINUTE,
        wall_ms: 60_000,
        again: has("again"),
        told: Vec::new(),
    }
}

fn look(memory: &mut Memory, rules: &[Rule], events: &[Event], minute: i64) -> Looked {
    // as it comes back from the store
    *memory = serde_json::from_str(&serde_json::to_string(memory).unwrap()).unwrap();
    memory.look(rules, &["team".to_owned()], &pace(), events, minute * MINUTE)
}

/// Plays minutes with what fails in them, and says what was told in which minute.
fn played(rules: &[Rule], story: &[(i64, &str)], minutes: i64) -> Vec<String> {
    let (mut memory, mut told) = (Memory::default(), Vec::new());
    let mut number = 0;
    for minute in 0..=minutes {
        let events: Vec<Event> = story
            .iter()
            .filter(|(at, _)| *at == minute)
            .map(|(_, words)| {
                number += 1;
                Event::Failed(Box::new(failure(number, minute, words)))
            })
            .collect();
        for (_, it) in look(&mut memory, rules, &events, minute).notices {
            told.push(format!(
                "{minute}: {:?} {:?} {} of {}, {}",
                it.kind, it.about, it.count, it.total, it.severity
            ));
        }
    }
    told
}

#[test]
fn one_message_and_not_a_hundred() {
    let rules = Rule::usual();
    let candidate = "high candidate v1:a new";
    let cases: Vec<Case> = vec![
        ("one", vec![(0, candidate)], vec!["0: Opened Group 1 of 1, high"]),
        ("known and no worse than high", vec![(0, "high candidate v1:a")], vec![]),
        ("a candidate of the loop", vec![(0, "critical candidate v1:a new loop")], vec![]),
        (
            "the loop's, but not the candidate's fault",
            vec![(0, "critical harness v1:a loop")],
            vec!["0: Opened Group 1 of 1, critical"],
        ),
        ("muted", vec![(0, "critical candidate v1:a new muted")], vec![]),
        (
            "it recurs within the pause: told when that has passed, and nothing more when it is over",
            vec![(0, candidate), (1, "high candidate v1:a"), (14, "high candidate v1:a")],
            vec!["0: Opened Group 1 of 1, high", "15: More Group 2 of 3, high"],
        ),
        (
            "the pauses grow",
            vec![
                (0, candidate),
                (5, "high candidate v1:a"),
                (20, "high candidate v1:a"),
                (50, "high candidate v1:a"),
                (80, "high candidate v1:a"),
            ],
            vec![
                "0: Opened Group 1 of 1, high",
                "15: More Group 1 of 2, high",
                "45: More Group 1 of 3, high",
                "105: More Group 2 of 5, high",
            ],
        ),
        (
            "worse than was told can't wait",
            vec![(0, candidate), (3, "critical candidate v1:a")],
            vec!["0: Opened Group 1 of 1, high", "3: Worse Group 1 of 2, critical"],
        ),
        (
            "an outage: many causes, one origin",
            vec![
                (0, "critical infrastructure v1:a"),
                (1, "high infrastructure v1:b new"),
                (2, "critical infrastructure v1:c"),
                (2, "critical infrastructure v1:c"),
                (9, "high infrastructure v1:a"),
            ],
            vec![
                "0: Opened Group 1 of 1, critical",
                "15: More Outage 4 of 5, critical",
                "75: Over Outage 0 of 5, critical",
            ],
        ),
        (
            "all in one look are one message",
            vec![(0, "critical infrastructure v1:a"), (0, "critical infrastructure v1:b")],
            vec!["0: Opened Outage 2 of 2, critical", "60: Over Outage 0 of 2, critical"],
        ),
        (
            "another origin is another outage, and so is what comes much later",
            vec![
                (0, "critical infrastructure v1:a"),
                (1, "critical provider v1:b"),
                (30, "critical infrastructure v1:c"),
            ],
            vec![
                "0: Opened Group 1 of 1, critical",
                "1: Opened Group 1 of 1, critical",
                "30: Opened Group 1 of 1, critical",
            ],
        ),
        (
            "candidates fail of different causes, each is news",
            vec![(0, "high candidate v1:a new"), (0, "high candidate v1:b new")],
            vec!["0: Opened Group 1 of 1, high", "0: Opened Group 1 of 1, high"],
        ),
        (
            "it was resolved, and came again",
            vec![(0, "high candidate v1:a reopened")],
            vec!["0: Reopened Group 1 of 1, high"],
        ),
        (
            "what was over is news when it comes again",
            vec![(0, "critical candidate v1:a"), (61, "critical candidate v1:a")],
            vec!["0: Opened Group 1 of 1, critical", "61: Opened Group 1 of 1, critical"],
        ),
        (
            "a flood",
            vec![
                (0, "critical candidate v1:1"),
                (0, "critical candidate v1:2"),
                (0, "critical candidate v1:3"),
                (0, "critical candidate v1:4"),
                (0, "critical candidate v1:5"),
                (1, "critical candidate v1:6"),
                (2, "critical candidate v1:7"),
                (3, "critical candidate v1:6"),
            ],
            vec![
                "0: Opened Group 1 of 1, critical",
                "0: Opened Group 1 of 1, critical",
                "0: Opened Group 1 of 1, critical",
                "0: Opened Group 1 of 1, critical",
                "0: Opened Group 1 of 1, critical",
                "1: Opened Flood 1 of 1, critical",
                "16: More Flood 2 of 3, critical",
                "76: Over Flood 0 of 3, critical",
            ],
        ),
    ];
    for (what, story, expected) in cases {
        assert_eq!(played(&rules, &story, 240), expected, "{what}");
    }
}

#[test]
fn a_rate_is_told_once_it_is_reached() {
    let rate = Rule {
        name: "many".into(),
        category: vec![Category::RuntimeError],
        rate: Some((3, Duration::from_secs(300))),
        ..Rule::default()
    };
    let medium = "medium candidate v1:a";
    let cases: Vec<(&str, Vec<i64>, Vec<&str>)> = vec![
        ("too few", vec![0, 1], vec![]),
        ("too slow", vec![0, 4, 8, 12], vec![]),
        (
            "reached, and going on",
            vec![0, 1, 2, 3, 4],
            vec![
                "2: Opened Rate 3 of 3, medium",
                "17: More Rate 2 of 5, medium",
                "77: Over Rate 0 of 5, medium",
            ],
        ),
        ("those before the time don't count", vec![0, 6, 7, 8], vec!["8: Opened Rate 3 of 3, medium"]),
    ];
    for (what, minutes, expected) in cases {
        let story: Vec<_> = minutes.into_iter().map(|minute| (minute, medium)).collect();
        let mut told = played(std::slice::from_ref(&rate), &story, 200);
        told.truncate(expected.len().max(1));
        assert_eq!(told, expected, "{what}");
    }
}

#[test]
fn rules_say_what_and_to_whom() {
    let fits = |rule: Rule, words: &str| rule.fits(&failure(1, 0, words));
    let rule = Rule::default;
    for (rule, words, expected) in [
        (rule(), "low candidate v1:a", true),
        (rule(), "low candidate v1:a loop", false),
        (Rule { candidates: true, ..rule() }, "low candidate v1:a loop", true),
        (Rule { severity: vec![Severity::High], ..rule() }, "low candidate v1:a", false),
        (Rule { origin: vec![Origin::Policy, Origin::Provider], ..rule() }, "low provider v1:a", true),
        (Rule { category: vec![Category::Timeout], ..rule() }, "low provider v1:a", false),
        (Rule { types: vec!["train".into()], ..rule() }, "low provider v1:a", true),
        (Rule { types: vec!["eval".into()], ..rule() }, "low provider v1:a", false),
        (Rule { new: true, ..rule() }, "low provider v1:a", false),
        (Rule { new: true, ..rule() }, "low provider v1:a reopened", true),
        (Rule { loop_stopped: true, ..rule() }, "critical provider v1:a new", false),
    ] {
        assert_eq!(fits(rule.clone(), words), expected, "{rule:?} {words}");
    }
    let of = |channels: &[&str]| Rule {
        channels: channels.iter().map(|it| (*it).into()).collect(),
        ..Rule::default()
    };
    let rules = [Rule { severity: vec![Severity::Critical], ..of(&["pager"]) }, of(&["team", "mail"])];
    let channels = ["team".to_owned(), "pager".to_owned(), "mail".to_owned()];
    let events = [(1, "critical harness v1:a"), (2, "low harness v1:b")]
        .map(|(number, words)| Event::Failed(Box::new(failure(number, 0, words))));
    let looked = Memory::default().look(&rules, &channels, &pace(), &events, 0);
    let told: Vec<_> = looked.notices.iter().map(|(to, it)| (to.as_str(), it.count)).collect();
    assert_eq!(told, [("team", 2), ("pager", 1), ("mail", 2)]);
    let counted: Vec<_> =
        looked.counted.iter().filter(|(number, _)| *number == 2).map(|(_, to)| to.as_str()).collect();
    assert_eq!(counted, ["team", "mail"]);
}

#[test]
fn what_was_counted_is_not_counted_again() {
    let rules = Rule::usual();
    let mut memory = Memory::default();
    let event = |change: &dyn Fn(&mut Failure)| {
        let mut it = failure(1, 0, "critical candidate v1:a again");
        change(&mut it);
        [Event::Failed(Box::new(it))]
    };
    assert_eq!(look(&mut memory, &rules, &event(&|it| it.told = vec!["team".into()]), 1).notices.len(), 0);
    // judged anew long after its end: somebody is going through the past
    assert_eq!(look(&mut memory, &rules, &event(&|_| {}), 16).notices.len(), 0);
    assert_eq!(look(&mut memory, &rules, &event(&|it| it.told = vec!["pager".into()]), 5).notices.len(), 1);
    let twice = [event(&|_| {}), event(&|_| {})].concat();
    let looked = look(&mut Memory::default(), &rules, &twice, 1);
    assert_eq!((looked.notices[0].1.count, looked.counted.len()), (1, 1));
    // a clock that is ahead keeps no incident open
    let mut memory = Memory::default();
    look(&mut memory, &rules, &event(&|it| it.at = i64::MAX / 2), 1);
    look(&mut memory, &rules, &[], 62);
    assert_eq!(look(&mut memory, &rules, &event(&|_| {}), 0).notices[0].1.sequence, 1);
}

#[test]
fn a_loop_that_was_stopped_is_told() {
    let stopped = |minute: i64| {
        [Event::Stopped(Stopped {
            run: 3,
            task: "packing".into(),
            reason: "infrastructure: no space left on device".into(),
            host: Some("gpu-07".into()),
            at: minute * MINUTE,
            wall_ms: 7_200_000,
        })]
    };
    let mut memory = Memory::default();
    let looked = look(&mut memory, &Rule::usual(), &stopped(0), 0);
    let [(_, notice)] = looked.notices.as_slice() else { panic!("{looked:?}") };
    let said = "[coroner] critical: loop stopped: Run 3 of packing was stopped: infrastructure: no space left on device";
    assert_eq!(notice.subject(), said);
    assert!(notice.latest.fix.contains("coroner evolve TASK.toml --run 3"));
    assert!(notice.whose().contains("on gpu-07 · 2 h 0 min lost"), "{}", notice.whose());
    assert_eq!(look(&mut memory, &Rule::usual(), &stopped(5), 5).notices.len(), 0, "in the pause");
    let again = look(&mut memory, &Rule::usual(), &[], 15).notices.remove(0).1;
    assert!(again.what().starts_with("Stopped again."), "{}", again.what());
    assert_eq!(look(&mut memory, &Rule::usual(), &[], 500).notices, [], "nobody waits for its end");
    let only_failures = [Rule { severity: vec![Severity::Critical], ..Rule::default() }];
    assert_eq!(look(&mut Memory::default(), &only_failures, &stopped(0), 0).notices, []);
}

#[test]
fn a_message_says_what_whose_and_what_it_cost() {
    let mut memory = Memory::default();
    let events: Vec<Event> = (0..14)
        .map(|number| {
            let mut it = failure(number + 1, 0, "critical infrastructure v1:a new");
            it.sample.cause =
                "CUDA out of memory: 2.50 GiB asked for. The rest.\r\nBcc: evil@example.org".into();
            Event::Failed(Box::new(it))
        })
        .collect();
    let notice = look(&mut memory, &Rule::usual(), &events, 0).notices.remove(0).1;
    let subject =
        "[coroner] critical: CUDA out of memory: 2.50 GiB asked for, 14 experiments on gpu-07 (new)";
    assert_eq!(notice.subject(), subject);
    assert!(!notice.what().contains(['\r', '\n']), "{:?}", notice.what());
    let whose =
        "critical · runtime_error · fault of: infrastructure · 14 experiments on gpu-07 · 14 min lost · 1970";
    assert!(notice.whose().starts_with(whose), "{}", notice.whose());
    let links = notice.links(Some("https://coroner.example/"));
    let urls: Vec<_> = links.iter().map(|(_, url)| url.as_str()).collect();
    assert_eq!(urls, ["https://coroner.example/experiments/14", "https://coroner.example/groups/v1:a"]);
    assert_eq!(notice.links(None), []);
    // those that follow stand in its thread
    look(&mut memory, &Rule::usual(), &events[..0], 1);
    let one_more = [Event::Failed(Box::new(failure(99, 2, "critical infrastructure v1:a")))];
    look(&mut memory, &Rule::usual(), &one_more, 2);
    let more = look(&mut memory, &Rule::usual(), &[], 15).notices.remove(0).1;
    assert_eq!(more.subject(), format!("Re: {subject}"));
    assert_eq!((more.incident == notice.incident, more.sequence), (true, 2));
    assert!(more.what().starts_with("1 experiment more, 15 in all."), "{}", more.what());
    let test = Notice::test("i", 0);
    assert_eq!(
        (test.kind, test.about, test.subject().as_str()),
        (Kind::Test, About::Test, "[coroner] test: messages arrive here")
    );
}

proptest! {
    /// Whatever fails in whatever order, however the looks fall: every failure is told in exactly one message, and there
    /// are few messages.
    #[test]
    fn each_failure_is_told_once(
        story in prop::collection::vec((0..180_i64, 0..40_usize, 0..5_usize, 0..4_usize, any::<bool>()), 1..150),
        looks in prop::collection::btree_set(0..180_i64, 1..60),
    ) {
        let rules = [Rule::default()];
        let mut memory = Memory::default();
        let (mut told, mut messages, mut openings) = (0, 0, 0);
        let mut last = -1;
        let mut ids = std::collections::BTreeSet::new();
        for minute in looks.iter().copied().chain((180..4000).step_by(10)) {
            let some = story.iter().enumerate().filter(|(_, it)| it.0 > last && (it.0 <= minute || minute == 180));
            let events: Vec<Event> = some.map(|(number, (at, cause, origin, severity, new))| {
                let (severity, origin) = (Severity::ALL[*severity], Origin::ALL[*origin]);
                let words = format!("{severity} {origin} v1:{cause}{}", if *new { " new" } else { "" });
                Event::Failed(Box::new(failure(number as u64 + 1, *at, &words)))
            }).collect();
            last = minute.max(last);
            for (_, notice) in look(&mut memory, &rules, &events, minute).notices {
                told += notice.count;
                messages += 1;
                openings += u64::from(notice.sequence == 1);
                prop_assert!(ids.insert((notice.incident, notice.sequence)), "an id is given once");
            }
        }
        prop_assert_eq!(told, story.len() as u64);
        // three hours: five openings in each, and in what is left of one, and the flood's; each may get worse three times,
        // pauses once in 15, 45, 105 minutes, and is over once
        prop_assert!(openings <= 4 * 6, "{} openings", openings);
        prop_assert!(messages <= openings * 8, "{} messages of {} openings", messages, openings);
        prop_assert_eq!(memory, Memory::default(), "when all is over, nothing is left");
    }
}
