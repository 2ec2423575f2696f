//! An experiment's life: begun, ended, diagnosed, found again under whatever name.

use std::time::Duration;

use coroner_diagnosis::{End, Exit};

use super::given::{at, diagnosis, ended, failed, log_of, new, passed, saved};
use crate::{Error, NewExperiment, Outcome, Owner, Query, Status, Store};

pub(crate) async fn what_has_begun_runs(store: &Store) {
    let id = store.begin(new("", "train", "python train.py --lr 0.1", 7)).await.unwrap();
    assert_eq!(id.attempt(), 1);
    assert!(id.name().len() == 36 && id.number() > 0, "{id:?}");
    let kept = store.get(id.name()).await.unwrap();
    assert_eq!(kept.listed.id, id);
    assert_eq!(kept.listed.status, Status::Running);
    assert_eq!(kept.listed.started_at, at(7));
    assert_eq!(kept.listed.command, super::given::command("python train.py --lr 0.1"));
    assert_eq!((kept.cwd.as_str(), kept.owner), ("/work", Some(Owner::this_process())));
    assert!(kept.listed.duration.is_none() && kept.listed.analysis.is_none() && kept.diagnosis.is_none());
    let page = store.list(Query::default()).await.unwrap();
    assert_eq!((page.total_count, page.running_commands), (1, 1));
}

pub(crate) async fn every_end_is_kept(store: &Store) {
    let ends = [
        End::Exited { code: 3 },
        End::Signaled { signal: 9 },
        End::TimedOut { limit: Duration::from_secs(90) },
        End::MemoryLimit { limit: 1 << 30 },
        End::OomKilled,
        End::OutputLimit { limit: 1 << 20 },
        End::NotStarted { reason: "No such file or directory".into(), code: 127 },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let seconds = n as i64 * 10;
        let id = store.begin(new(&format!("end-{n}"), "t", "false", seconds)).await.unwrap();
        let exit = Exit {
            end,
            wall: Duration::from_micros(1_234_567),
            cpu: Some(Duration::from_millis(3)),
            peak_memory: Some(77 << 20),
        };
        let died = diagnosis("v1:aa", "It died.");
        let outcome = Outcome {
            exit: Some(exit.clone()),
            reason: Some("Code testing failed".into()),
            diagnosis: Some(died.clone()),
            ..ended(Status::TestFailed, seconds + 5)
        };
        store.finish(&id, outcome).await.unwrap();
        let kept = store.get(&format!("end-{n}")).await.unwrap();
        assert_eq!(kept.exit, Some(exit));
        assert_eq!(kept.diagnosis, Some(died));
        assert_eq!(kept.reason.as_deref(), Some("Code testing failed"));
        assert_eq!(kept.listed.status, Status::TestFailed);
        assert_eq!(kept.listed.duration, Some(Duration::from_micros(1_234_567)));
        assert_eq!(kept.listed.peak_memory, Some(77 << 20));
        let analysis = kept.listed.analysis.unwrap();
        assert_eq!((analysis.root_cause.as_str(), analysis.signature.as_str()), ("It died.", "v1:aa"));
    }
    assert_eq!(store.list(Query::default()).await.unwrap().running_commands, 0);
}

pub(crate) async fn a_start_that_is_said_again_is_one(store: &Store) {
    let told = |key: &str| NewExperiment {
        owner: Owner::elsewhere("gpu-07", key.to_owned()),
        ..new("told", "t", "sleep 9", 0)
    };
    // whoever was not heard says it again, while it is written and later
    let again = || async { store.begin(told("k1")).await.unwrap() };
    let (a, b, c, d) = tokio::join!(again(), again(), again(), again());
    assert!(a == b && b == c && c == d && a == again().await, "{a:?} {b:?} {c:?} {d:?}");
    store.finish(&a, ended(Status::Passed, 5)).await.unwrap();
    assert_eq!(again().await, a, "it has ended since");
    // another run of that id, and two of which nobody can say that they are one
    let attempts =
        [told("k2"), told(""), told("")].map(|new| async { store.begin(new).await.unwrap().attempt() });
    let mut begun = Vec::new();
    for attempt in attempts {
        begun.push(attempt.await);
    }
    assert_eq!(begun, [2, 3, 4]);
    let kept = store.get("told~2").await.unwrap().owner.unwrap();
    assert_eq!((kept.host_elsewhere(), kept.key()), (Some("gpu-07"), Some("k2")));
    assert_eq!(store.health(true).await.unwrap().problems, [""; 0]);
}

pub(crate) async fn it_ends_once(store: &Store) {
    let id = passed(store, "once", "t", "true", 0, "fine").await;
    let second = store.finish(&id, ended(Status::Failed, 9)).await;
    assert!(matches!(second, Err(Error::AlreadyFinished { status: Status::Passed, .. })), "{second:?}");
    let kept = store.get("once").await.unwrap();
    assert_eq!(kept.listed.status, Status::Passed);
    assert!(kept.listed.log.is_some(), "the first end's log is still there");

    let running = store.begin(new("open", "t", "true", 1)).await.unwrap();
    let wrong = store.finish(&running, ended(Status::Running, 2)).await;
    assert!(matches!(wrong, Err(Error::StillRunning { .. })), "{wrong:?}");
    let early = store.attach_diagnosis(&running, diagnosis("v1:a", "too early")).await;
    assert!(matches!(early, Err(Error::StillRunning { .. })), "{early:?}");
    let health = store.health(true).await.unwrap();
    assert_eq!((health.experiments, health.running, health.problems), (2, 1, vec![]));
}

pub(crate) async fn what_was_lost_can_still_end(store: &Store) {
    let id = store.begin(new("late", "t", "sleep 9", 0)).await.unwrap();
    let closed = store.close_orphans(at(5), |_| false).await.unwrap();
    assert_eq!(closed.iter().map(|o| &o.experiment.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(store.get("late").await.unwrap().listed.status, Status::Lost);
    store.attach_diagnosis(&id, diagnosis("v1:lost", "Its watcher was killed.")).await.unwrap();
    assert_eq!(store.signature_stats("v1:lost").await.unwrap().unwrap().count, 1);

    store.finish(&id, ended(Status::Passed, 9)).await.unwrap();
    let kept = store.get("late").await.unwrap();
    assert_eq!((kept.listed.status, kept.diagnosis), (Status::Passed, None));
    assert_eq!(store.signature_stats("v1:lost").await.unwrap().unwrap().count, 0);
    assert!(store.close_orphans(at(10), |_| false).await.unwrap().is_empty());
}

pub(crate) async fn the_same_id_is_another_attempt(store: &Store) {
    failed(store, "nightly", "t", "false", 0, diagnosis("v1:a", "first")).await;
    let second = store.begin(new("nightly", "t", "true", 100)).await.unwrap();
    assert_eq!((second.to_string().as_str(), second.attempt()), ("nightly~2", 2));
    store.finish(&second, ended(Status::Passed, 101)).await.unwrap();
    for (asked, status) in
        [("nightly", Status::Passed), ("nightly~2", Status::Passed), ("nightly~1", Status::Failed)]
    {
        assert_eq!(store.get(asked).await.unwrap().listed.status, status, "{asked}");
    }
    assert!(matches!(store.get("nightly~3").await, Err(Error::NotFound { .. })));
    // an id of the caller's that looks like ours is his
    failed(store, "nightly~2", "t", "false", 200, diagnosis("v1:b", "his own")).await;
    assert_eq!(store.get("nightly~2").await.unwrap().listed.status, Status::Failed);
    for bad in ["", "a\nb", "x\0"] {
        let mut with = new("", "t", "true", 0);
        with.id = Some(bad.to_owned());
        assert!(matches!(store.begin(with).await, Err(Error::BadId { .. })), "{bad:?}");
    }
}

pub(crate) async fn found_by_what_people_type(store: &Store) {
    for (n, name) in ["alpha-1", "alpha-2", "beta", "beta-long", "100%_done"].into_iter().enumerate() {
        passed(store, name, "t", "true", n as i64, "").await;
    }
    let number = store.get("beta").await.unwrap().listed.id.number();
    for (typed, expected) in [
        ("alpha-1", "alpha-1"),
        ("beta", "beta"), // exact before beginning
        ("beta-", "beta-long"),
        ("100%", "100%_done"),
        ("last", "100%_done"),
        (&number.to_string()[..], "beta"),
    ] {
        assert_eq!(store.get(typed).await.unwrap().listed.id.to_string(), expected, "{typed}");
    }
    let several = store.get("alpha").await.unwrap_err();
    assert!(
        matches!(&several, Error::Ambiguous { matches, .. } if matches == &["alpha-1", "alpha-2"]),
        "{several}"
    );
    for typed in ["", "gamma", "ALPHA-1", "%", "_", "999999", "beta~2", "' OR 1=1 --"] {
        assert!(matches!(store.get(typed).await, Err(Error::NotFound { .. })), "{typed:?}");
    }
    passed(store, "last", "t", "true", -100, "").await;
    assert_eq!(store.get("last").await.unwrap().listed.id.name(), "last", "somebody's own id comes first");
    passed(store, &number.to_string(), "t", "true", -200, "").await;
    assert_eq!(store.numbered(number).await.unwrap().listed.id.name(), "beta", "a number is never a name");
    for number in [999_999, u64::MAX] {
        assert!(matches!(store.numbered(number).await, Err(Error::NotFound { .. })));
    }
}

pub(crate) async fn a_diagnosis_can_be_replaced(store: &Store) {
    let id =
        failed(store, "d", "t", "false", 0, diagnosis("v1:rule", "What the rules said about cuda.")).await;
    store.attach_diagnosis(&id, diagnosis("v1:model", "What the model said about nccl.")).await.unwrap();
    let kept = store.get("d").await.unwrap();
    assert_eq!(kept.listed.status, Status::Failed);
    assert_eq!(kept.diagnosis.unwrap().root_cause, "What the model said about nccl.");
    for (signature, count) in [("v1:rule", 0), ("v1:model", 1)] {
        assert_eq!(store.signature_stats(signature).await.unwrap().unwrap().count, count, "{signature}");
    }
    for (q, count) in [("cuda", 0), ("nccl", 1)] {
        let query = Query { q: Some(q.into()), ..Query::default() };
        assert_eq!(store.list(query).await.unwrap().total_count, count, "{q}");
    }
    let unknown = crate::ExperimentId::new("nobody".into(), 1, 99);
    let missing = store.attach_diagnosis(&unknown, diagnosis("v1:x", "x")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    let missing = store.finish(&unknown, ended(Status::Passed, 0)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

pub(crate) async fn saving_twice_counts_once(store: &Store) {
    let log = log_of(store, b"Killed\n").await;
    let save = |seconds, signature: &str, log: Option<&crate::Log>| {
        let failure = saved(Some("job-7"), seconds, diagnosis(signature, "It was killed."), log.cloned());
        async { store.save_diagnoses(vec![failure]).await.unwrap().remove(0) }
    };
    let steps = [
        // (signature, with the log, expected id, replaced)
        ("v1:a", false, "job-7", false),
        ("v1:a", false, "job-7", true),
        ("v1:b", false, "job-7~2", false),
        ("v1:b", true, "job-7~3", false),
        ("v1:c", true, "job-7~3", true), // newer rules see the same log differently
        ("v1:a", false, "job-7", true),
    ];
    for (n, (signature, with_log, expected, replaced)) in steps.into_iter().enumerate() {
        let kept = save(n as i64, signature, with_log.then_some(&log)).await;
        assert_eq!((kept.id.to_string().as_str(), kept.replaced), (expected, replaced), "step {n}");
    }
    let page = store.list(Query::default()).await.unwrap();
    assert_eq!(page.total_count, 3);
    for (signature, count) in [("v1:a", 1), ("v1:b", 1), ("v1:c", 1)] {
        assert_eq!(store.signature_stats(signature).await.unwrap().unwrap().count, count, "{signature}");
    }
    let without_ids =
        vec![saved(None, 1, diagnosis("v1:a", "x"), None), saved(None, 1, diagnosis("v1:a", "x"), None)];
    let kept = store.save_diagnoses(without_ids).await.unwrap();
    assert!(kept.iter().all(|k| !k.replaced) && kept[0].id != kept[1].id, "{kept:?}");
    assert!(store.save_diagnoses(vec![]).await.unwrap().is_empty());
}

pub(crate) async fn saved_at_the_same_moment_are_one(store: &Store) {
    let log = log_of(store, b"Killed\n").await;
    let save = |id: &'static str, signature, log| {
        let failure = saved(Some(id), 0, diagnosis(signature, "It was killed."), log);
        async move { store.save_diagnoses(vec![failure]).await.unwrap().remove(0) }
    };
    for (id, log) in [("with-a-log", Some(log)), ("without", None)] {
        let one = || save(id, "v1:a", log.clone());
        let kept = tokio::join!(one(), one(), one(), one());
        let kept = [kept.0, kept.1, kept.2, kept.3];
        assert!(kept.iter().all(|it| it.id.to_string() == id), "{kept:?}");
        assert_eq!(kept.iter().filter(|it| !it.replaced).count(), 1, "{kept:?}");
    }
    // other contents under one id are other attempts
    let other = |signature| save("other", signature, None);
    let kept = tokio::join!(other("v1:a"), other("v1:b"), other("v1:c"));
    let mut ids = [kept.0, kept.1, kept.2].map(|it| it.id.to_string());
    ids.sort();
    assert_eq!(ids, ["other", "other~2", "other~3"]);
    assert_eq!(store.totals().await.unwrap().total, 5);
    for (signature, count) in [("v1:a", 3), ("v1:b", 1), ("v1:c", 1)] {
        assert_eq!(store.signature_stats(signature).await.unwrap().unwrap().count, count, "{signature}");
    }
}

pub(crate) async fn saved_are_all_or_none(store: &Store) {
    let batch = vec![
        saved(Some("good"), 0, diagnosis("v1:a", "a"), None),
        saved(Some(""), 0, diagnosis("v1:a", "a"), None),
    ];
    assert!(matches!(store.save_diagnoses(batch).await, Err(Error::BadId { .. })));
    assert_eq!(store.list(Query::default()).await.unwrap().total_count, 0);
    assert!(store.signature_stats("v1:a").await.unwrap().is_none());
}

pub(crate) async fn a_dropped_guard_closes(store: &Store) {
    let kept = store.begin_guarded(new("kept", "t", "true", 0)).await.unwrap();
    let dropped = store.begin_guarded(new("dropped", "t", "true", 1)).await.unwrap();
    drop(dropped);
    let status = async |id: &str| store.get(id).await.unwrap().listed.status;
    // closed in the background
    while status("dropped").await == Status::Running {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(status("dropped").await, Status::Lost);
    assert_eq!(status("kept").await, Status::Running);
    kept.finish(ended(Status::Passed, 2)).await.unwrap();
    assert_eq!(status("kept").await, Status::Passed);
}

pub(crate) async fn recorded_are_all_or_none(store: &Store) {
    let failure = || Outcome { diagnosis: Some(diagnosis("v1:a", "x")), ..ended(Status::Failed, 9) };
    let one = |id: &str, outcome| (new(id, "train", "python x.py", 5), outcome);
    let bad = [one("a", failure()), one("b", ended(Status::Running, 9))];
    assert!(matches!(store.record(bad.to_vec()).await, Err(Error::StillRunning { .. })));
    assert_eq!(store.totals().await.unwrap().total, 0);
    let log = log_of(store, b"it broke\n").await;
    let all = [
        one("a", Outcome { log: Some(log), ..failure() }),
        one("b", ended(Status::Passed, 9)),
        one("a", failure()),
    ];
    let ids = store.record(all.to_vec()).await.unwrap();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b", "a~2"]);
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.total, totals.by_status[&Status::Failed], totals.by_category.len()), (3, 2, 1));
    // the same as one that was begun and ended here
    let begun = store.begin(new("c", "train", "python x.py", 5)).await.unwrap();
    let log = log_of(store, b"it broke\n").await;
    store.finish(&begun, Outcome { log: Some(log), ..failure() }).await.unwrap();
    let [recorded, lived] = [store.get("a~1").await.unwrap(), store.get("c").await.unwrap()];
    assert_eq!(recorded.listed, crate::Listed { id: recorded.listed.id.clone(), ..lived.listed });
    let facts = |it: crate::Experiment| (it.exit, it.log, it.diagnosis, it.reason, it.cwd, it.owner);
    assert_eq!(facts(recorded), facts(store.get("c").await.unwrap()));
}
