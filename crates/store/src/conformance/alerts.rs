//! What alerts stand on: every failure is looked at once, and every message is one sender's at a time.

use coroner_diagnosis::{Diagnosis, Severity};

use super::given::{at, diagnosis, failed, new, passed, saved};
use crate::{
    AlertCause, AlertFailure, AlertStep, Error, MessageState, NewMessage, NewRun, Owner, RunEnd, RunState,
    Store, Tried,
};

fn message(delivery: &str, channel: &str, seconds: i64) -> NewMessage {
    NewMessage {
        delivery: delivery.to_owned(),
        channel: channel.to_owned(),
        incident: "i1".to_owned(),
        content: r#"{"cause":"x"}"#.to_owned(),
        at: at(seconds),
    }
}

async fn failures(store: &Store) -> Vec<AlertFailure> {
    let round = store.alert_round(100).await.unwrap().unwrap();
    let failure = |cause| match cause {
        AlertCause::Failed(failure) => Some(*failure),
        _ => None,
    };
    round.events.into_iter().filter_map(|event| failure(event.cause)).collect()
}

async fn done(store: &Store) {
    let round = store.alert_round(100).await.unwrap().unwrap();
    let done = round.events.iter().map(|event| event.id).collect();
    let step = AlertStep { version: round.version, memory: "m".into(), done, ..AlertStep::default() };
    assert!(store.settle_alerts(step).await.unwrap());
}

pub(super) async fn failures_are_noticed_once_alerts_are_expected(store: &Store) {
    failed(store, "early", "", "a", 0, diagnosis("v1:early", "x")).await;
    assert!(store.alert_round(10).await.unwrap().is_none(), "nobody wants any");
    store.expect_alerts().await.unwrap();
    store.expect_alerts().await.unwrap();
    assert_eq!(failures(store).await.len(), 0, "what was before is past");
    let first = failed(store, "a", "train", "python a.py", 10, diagnosis("v1:a", "no numpy")).await;
    passed(store, "fine", "train", "b", 20, "log").await;
    failed(store, "b", "train", "python a.py", 30, diagnosis("v1:a", "no numpy")).await;
    store.save_diagnoses(vec![saved(Some("c"), 40, diagnosis("v1:c", "disk"), None)]).await.unwrap();
    // the same failure saved twice is one
    store.save_diagnoses(vec![saved(Some("c"), 40, diagnosis("v1:c", "disk"), None)]).await.unwrap();
    let seen = failures(store).await;
    let told: Vec<_> = seen.iter().map(|it| (it.experiment.listed.id.to_string(), it.is_new)).collect();
    assert_eq!(told, [("a".to_owned(), true), ("b".to_owned(), false), ("c".to_owned(), true)]);
    assert_eq!(seen[0].signature, "v1:a");
    assert!(seen.iter().all(|it| !it.again && !it.is_quiet && !it.reopened && it.run.is_none()));
    assert_eq!(seen[0].experiment.diagnosis.as_ref().unwrap().root_cause, "no numpy");
    assert!(seen[0].experiment.owner.is_some() && seen[2].experiment.owner.is_none());

    done(store).await;
    assert_eq!(failures(store).await.len(), 0);
    let worse = Diagnosis { severity: Severity::Critical, ..diagnosis("v1:a", "no numpy") };
    store.attach_diagnosis(&first, worse.clone()).await.unwrap();
    // in other words, but the same
    store
        .attach_diagnosis(&first, Diagnosis { root_cause: "numpy is not there".into(), ..worse })
        .await
        .unwrap();
    let seen = failures(store).await;
    assert_eq!(seen.iter().map(|it| it.again).collect::<Vec<_>>(), [true]);
    assert_eq!(seen[0].experiment.listed.analysis.as_ref().unwrap().severity, Severity::Critical);
}

pub(super) async fn a_loop_that_is_stopped_is_noticed(store: &Store) {
    store.expect_alerts().await.unwrap();
    let run = NewRun {
        task: "packing".into(),
        settings: serde_json::json!({}),
        seed: 1,
        owner: Owner::this_process(),
        started_at: at(0),
    };
    let run = store.start_run(run).await.unwrap();
    let end = |state, reason: &str| RunEnd { state, reason: reason.into(), at: at(60) };
    store.end_run(run, end(RunState::Stopped, "ended from the terminal")).await.unwrap();
    store.end_run(run, end(RunState::Broken, "infrastructure: no space left")).await.unwrap();
    store.end_run(run, end(RunState::Broken, "infrastructure: no space left")).await.unwrap();
    let round = store.alert_round(10).await.unwrap().unwrap();
    let [event] = round.events.as_slice() else { panic!("{round:?}") };
    let AlertCause::Stopped(stopped) = &event.cause else { panic!("{event:?}") };
    assert_eq!((stopped.id, stopped.task.as_str()), (run, "packing"));
    assert_eq!(stopped.reason.as_deref(), Some("infrastructure: no space left"));
}

pub(super) async fn a_round_is_settled_by_one(store: &Store) {
    store.expect_alerts().await.unwrap();
    let id = failed(store, "a", "", "a", 10, diagnosis("v1:a", "x")).await;
    failed(store, "b", "", "a", 20, diagnosis("v1:a", "x")).await;
    let round = store.alert_round(1).await.unwrap().unwrap();
    assert_eq!((round.memory.as_str(), round.events.len()), ("", 1));
    let step = |memory: &str, delivery: &str| AlertStep {
        version: round.version,
        memory: memory.into(),
        done: vec![round.events[0].id],
        counted: vec![(id.number(), "team".into())],
        messages: vec![message(delivery, "team", 11)],
    };
    assert!(store.settle_alerts(step("one", "d1")).await.unwrap());
    assert!(!store.settle_alerts(step("two", "d2")).await.unwrap(), "another was quicker");
    let next = store.alert_round(10).await.unwrap().unwrap();
    assert_eq!((next.memory.as_str(), next.events.len()), ("one", 1));
    assert!(next.version > round.version);
    let sent = store.outbox(None, 10).await.unwrap();
    assert_eq!(sent.iter().map(|it| it.delivery.as_str()).collect::<Vec<_>>(), ["d1"]);
    // judged anew, it is known who has counted it
    store.attach_diagnosis(&id, diagnosis("v1:b", "y")).await.unwrap();
    let again = failures(store).await.into_iter().find(|it| it.again).unwrap();
    assert_eq!(again.told, ["team"]);
}

pub(super) async fn eight_at_once_look_at_each_failure_once(store: &Store) {
    store.expect_alerts().await.unwrap();
    for i in 0..40 {
        failed(store, "", "", "a", i, diagnosis("v1:a", "x")).await;
    }
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    let round = store.alert_round(3).await.unwrap().unwrap();
                    if round.events.is_empty() {
                        break;
                    }
                    let messages = round.events.iter().map(|e| message(&format!("d{}", e.id), "team", 0));
                    let step = AlertStep {
                        version: round.version,
                        memory: round.memory.clone() + "x",
                        done: round.events.iter().map(|event| event.id).collect(),
                        messages: messages.collect(),
                        ..AlertStep::default()
                    };
                    store.settle_alerts(step).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // each would have been refused a second time
    assert_eq!(store.outbox(None, 100).await.unwrap().len(), 40);
}

pub(super) async fn a_message_is_one_senders_at_a_time(store: &Store) {
    store.expect_alerts().await.unwrap();
    let messages = vec![message("d1", "team", 0), message("d2", "team", 1), message("d3", "pager", 0)];
    let step = AlertStep { messages, ..AlertStep::default() };
    assert!(store.settle_alerts(step).await.unwrap());
    let claim = async |by: &str, seconds: i64| {
        let claimed = store.claim_message("team", by, at(seconds), at(seconds + 60)).await.unwrap();
        claimed.map(|it| (it.id, it.delivery, it.attempts))
    };
    assert_eq!(claim("a", -1).await, None, "not yet");
    let (first, delivery, attempts) = claim("a", 5).await.unwrap();
    assert_eq!((delivery.as_str(), attempts), ("d1", 1));
    let (second, delivery, _) = claim("b", 5).await.unwrap();
    assert_eq!(delivery, "d2");
    assert_eq!(claim("c", 64).await, None, "both are being sent");
    let taken = [(first, "a".to_owned()), (second, "b".to_owned())];
    assert_eq!(store.taken_messages().await.unwrap(), taken);
    assert!(!store.settle_message(first, "b", Tried::Sent, at(6)).await.unwrap(), "it is another's");
    assert!(
        store.settle_message(second, "b", Tried::Again("no answer".into(), at(100)), at(6)).await.unwrap()
    );
    // the first sender died
    assert_eq!(claim("c", 65).await, Some((first, "d1".into(), 2)));
    assert!(!store.settle_message(first, "a", Tried::Sent, at(66)).await.unwrap(), "too late");
    assert!(store.settle_message(first, "c", Tried::Sent, at(66)).await.unwrap());
    assert!(!store.settle_message(first, "c", Tried::Failed("x".into()), at(67)).await.unwrap());
    assert_eq!(claim("c", 99).await, None);
    assert_eq!(claim("c", 100).await, Some((second, "d2".into(), 2)));
    let team = store.deliveries(&["team".into(), "nobody".into()]).await.unwrap();
    assert_eq!((team[0].waiting, team[0].failed, team[0].last_sent), (1, 0, Some(at(66))));
    assert_eq!(team[0].last_error.as_deref(), Some("no answer"));
    assert_eq!((team[1].waiting, team[1].last_sent, &team[1].last_error), (0, None, &None));
    assert_eq!(store.taken_messages().await.unwrap(), [(second, "c".to_owned())]);
    assert!(store.settle_message(second, "c", Tried::Failed("refused".into()), at(101)).await.unwrap());
    let team = store.deliveries(&["team".into()]).await.unwrap().remove(0);
    assert_eq!((team.waiting, team.failed, team.last_error.as_deref()), (0, 1, Some("refused")));

    let failed = store.outbox(Some(MessageState::Failed), 10).await.unwrap();
    assert_eq!((failed.len(), failed[0].id, failed[0].attempts), (1, second, 2));
    assert_eq!(store.retry_messages(Some(first), at(200)).await.unwrap(), 0, "what is sent is sent");
    assert_eq!(store.retry_messages(Some(second), at(200)).await.unwrap(), 1);
    assert_eq!(claim("c", 200).await, Some((second, "d2".into(), 1)));
    assert_eq!(store.retry_messages(None, at(201)).await.unwrap(), 1, "the pager's; the other is being sent");
    assert!(store.settle_message(second, "c", Tried::Sent, at(202)).await.unwrap());
    let team = store.deliveries(&["team".into()]).await.unwrap().remove(0);
    assert_eq!((team.failed, team.last_sent, team.last_error), (0, Some(at(202)), None));

    store.keep_message(message("t1", "team", 300), None).await.unwrap();
    store.keep_message(message("t2", "team", 301), Some("refused")).await.unwrap();
    let states: Vec<_> = store.outbox(None, 2).await.unwrap().into_iter().map(|it| it.state).collect();
    assert_eq!(states, [MessageState::Failed, MessageState::Sent]);
    assert_eq!(claim("c", 999).await, None);
}

pub(super) async fn what_was_removed_costs_nothing(store: &Store) {
    store.expect_alerts().await.unwrap();
    failed(store, "a", "", "a", 0, diagnosis("v1:a", "x")).await;
    failed(store, "b", "", "b", 5000, diagnosis("v1:b", "x")).await;
    let retention = crate::Retention {
        max_age: Some(std::time::Duration::from_secs(2000)),
        ..crate::Retention::default()
    };
    store.prune(retention, at(6000)).await.unwrap();
    let left = failures(store).await;
    assert_eq!(left.iter().map(|it| it.experiment.listed.id.to_string()).collect::<Vec<_>>(), ["b"]);
    // one that never ended says nothing
    store.begin(new("c", "", "c", 6000)).await.unwrap();
    assert_eq!(failures(store).await.len(), 1);
    assert!(matches!(store.get("a").await, Err(Error::NotFound { .. })));
}

pub(super) async fn a_step_that_is_too_large_says_so_and_changes_nothing(store: &Store) {
    store.expect_alerts().await.unwrap();
    for i in 0..3 {
        failed(store, "", "", "a", i, diagnosis("v1:a", "x")).await;
    }
    let step = async |counted: u64, messages: usize, memory: String| {
        let round = store.alert_round(10).await.unwrap().unwrap();
        let delivery = |i| format!("d{}-{counted}-{i}", round.version);
        AlertStep {
            version: round.version,
            memory,
            done: round.events.iter().map(|event| event.id).collect(),
            counted: (0..counted).map(|i| (i + 1, format!("channel-{i}"))).collect(),
            messages: (0..messages).map(|i| message(&delivery(i), "team", 0)).collect(),
        }
    };
    let state = async || {
        let round = store.alert_round(10).await.unwrap().unwrap();
        (round.version, round.memory, round.events.len(), store.outbox(None, 500).await.unwrap().len())
    };
    // a store may take all of it or nothing; the limits of those that have some are known
    for (what, counted, messages, memory) in [
        ("97 that are counted", 97, 0, 10),
        ("49 messages", 0, 49, 10),
        ("both", 57, 20, 10),
        ("what is remembered", 0, 1, 400_001),
    ] {
        let (before, outbox) = (state().await, store.outbox(None, 500).await.unwrap());
        match store.settle_alerts(step(counted, messages, "m".repeat(memory)).await).await {
            Ok(true) => assert!(state().await.0 > before.0, "{what}"),
            Err(Error::StepTooLarge { what: said }) => {
                assert!(
                    ["101 changes at once", "102 changes at once", "400001 bytes to be remembered"]
                        .contains(&said.as_str()),
                    "{what}: {said}"
                );
                assert_eq!(state().await, before, "{what}");
                assert_eq!(store.outbox(None, 500).await.unwrap(), outbox, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // the largest that all of them take; what waits is dealt with by now where larger ones were taken
    let step = AlertStep { messages: Vec::new(), ..step(0, 0, "m".repeat(350_000)).await };
    let some = 100 - 1 - step.done.len() as u64 - 2 * 20;
    let messages = (0..20).map(|i| message(&format!("last-{i}"), "team", 0)).collect();
    let counted = (0..some).map(|i| (i + 1, format!("last-{i}"))).collect();
    assert!(store.settle_alerts(AlertStep { messages, counted, ..step }).await.unwrap());
    let (_, memory, events, _) = state().await;
    assert_eq!((memory.len(), events), (350_000, 0));
}
