//! What the desk keeps, on SQLite and DynamoDB: groups, corrections, people, happenings.

use std::time::Duration;

use coroner_diagnosis::{Category, Said, Severity};
use jiff::civil::date;
use jiff::{Timestamp, ToSpan};

use super::given::{at, command, diagnosis, ended, failed, log_of, new, saved};
use crate::{
    By, CommandLine, Decision, Error, GroupOrder, GroupQuery, GroupState, Outcome, Query, Role, Ruling,
    Spent, Status, Step, Store, TokenScope, UserChange, What,
};

macro_rules! cases {
    ($($case:ident)+) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $case() {
                let (store, _folder) = crate::conformance::sqlite().await;
                super::$case(&store).await;
                store.close().await.unwrap();
            })+
        }

        #[cfg(feature = "aws")]
        mod on_dynamodb {
            $(#[tokio::test] async fn $case() {
                if let Some((store, _folder)) = crate::conformance::dynamo::store(stringify!($case)).await {
                    super::$case(&store).await;
                }
            })+
        }

        /// All of it, one after the other.
        pub(super) async fn everything() {
            $(
                let (store, _folder) = super::sqlite().await;
                $case(&store).await;
                store.close().await.unwrap();
            )+
        }
    };
}

cases! {
    groups_are_counted_and_paged a_resolved_group_opens_when_it_recurs groups_are_joined_and_parted
    a_split_moves_what_is_there_and_what_comes a_correction_decides_and_is_taken_back votes_are_counted
    what_happens_is_told_in_order counts_over_time silence_is_noticed people_and_tokens
    a_reported_failure_keeps_how_it_ended an_overview_is_made_of_its_parts
    a_version_changes_with_every_write whoever_is_switched_off_is_out_and_the_last_admin_stays
    rules_are_silenced_and_speak_again the_code_of_a_reported_failure_is_kept_with_it what_a_month_has_cost
    what_people_decided_is_told_to_alerts
}

async fn fail(store: &Store, signature: &str, cause: &str, seconds: i64) -> crate::ExperimentId {
    let mut diagnosis = diagnosis(signature, cause);
    diagnosis.provenance.source = Said::Rule;
    failed(store, "", "train", "python train.py", seconds, diagnosis).await
}

async fn groups_are_counted_and_paged(store: &Store) {
    for i in 0..6 {
        fail(store, &format!("v1:{}", i % 3), "x", i * 100).await;
    }
    fail(store, "v1:1", "x", 50).await;
    let query = GroupQuery { limit: Some(2), ..GroupQuery::default() };
    let first = store.groups(query.clone(), at(0)).await.unwrap();
    let names = |groups: &[crate::Group]| groups.iter().map(|g| g.signature.clone()).collect::<Vec<_>>();
    assert_eq!(names(&first.groups), ["v1:2", "v1:1"]);
    let rest = store.groups(GroupQuery { cursor: first.next_cursor, ..query }, at(0)).await.unwrap();
    assert_eq!(names(&rest.groups), ["v1:0"]);
    assert_eq!(rest.next_cursor, None);
    for (order, expected) in [(GroupOrder::Largest, "v1:1"), (GroupOrder::Newest, "v1:2")] {
        let page = store.groups(GroupQuery { order, ..GroupQuery::default() }, at(0)).await.unwrap();
        assert_eq!(page.groups[0].signature, expected, "{order:?}");
    }
    let largest = store.group("v1:1", at(0)).await.unwrap().unwrap();
    assert_eq!((largest.count, largest.wall), (3, Duration::from_millis(4500)));
    assert_eq!((largest.first_seen, largest.last_seen), (at(50), at(400)));
    assert_eq!(largest.trend.iter().sum::<u64>(), 3);
    assert_eq!(largest.trend.last(), Some(&3));
    assert_eq!(largest.latest.unwrap().started_at, at(400));
    assert_eq!(store.group("v1:none", at(0)).await.unwrap(), None);
    let wrong = GroupQuery { cursor: Some("c1.1".into()), ..GroupQuery::default() };
    assert!(matches!(store.groups(wrong, at(0)).await, Err(Error::Cursor { .. })));
}

async fn a_resolved_group_opens_when_it_recurs(store: &Store) {
    fail(store, "v1:a", "x", 0).await;
    store.decide("v1:a", Decision::Resolve, "ada", at(10)).await.unwrap();
    store.decide("v1:a", Decision::Assign(Some("bob".into())), "ada", at(10)).await.unwrap();
    // one that began before it was resolved says nothing
    fail(store, "v1:a", "x", 5).await;
    let group = store.group("v1:a", at(20)).await.unwrap().unwrap();
    assert_eq!((group.state, group.decided_by.as_deref()), (GroupState::Resolved, Some("ada")));
    fail(store, "v1:a", "x", 30).await;
    let group = store.group("v1:a", at(40)).await.unwrap().unwrap();
    assert_eq!((group.state, group.reopened_at), (GroupState::Open, Some(at(30))));
    assert_eq!(group.assignee.as_deref(), Some("bob"));
    store.decide("v1:a", Decision::Mute(Some(at(100))), "ada", at(40)).await.unwrap();
    fail(store, "v1:a", "x", 60).await;
    let muted = GroupQuery { state: Some(GroupState::Muted), ..GroupQuery::default() };
    assert_eq!(store.groups(muted.clone(), at(61)).await.unwrap().groups.len(), 1);
    fail(store, "v1:a", "x", 101).await;
    assert_eq!(store.groups(muted, at(102)).await.unwrap().groups.len(), 0);
    let unknown = store.decide("v1:none", Decision::Resolve, "ada", at(0)).await.unwrap_err();
    assert!(matches!(unknown, Error::NoGroup { .. }) && !unknown.is_store_failure());
}

async fn groups_are_joined_and_parted(store: &Store) {
    for (signature, seconds) in [("v1:a", 0), ("v1:b", 1), ("v1:b", 2), ("v1:c", 3)] {
        fail(store, signature, "x", seconds).await;
    }
    store.join_groups("v1:b", "v1:a").await.unwrap();
    store.join_groups("v1:c", "v1:b").await.unwrap();
    store.join_groups("v1:a", "v1:c").await.unwrap();
    fail(store, "v1:c", "x", 4).await;
    let group = store.group("v1:c", at(10)).await.unwrap().unwrap();
    assert_eq!((group.signature.as_str(), group.count), ("v1:a", 5));
    assert_eq!(group.members, ["v1:b", "v1:c"]);
    assert_eq!(group.last_seen, at(4));
    assert_eq!(store.groups(GroupQuery::default(), at(10)).await.unwrap().groups.len(), 1);
    store.part_group("v1:c").await.unwrap();
    let all = store.groups(GroupQuery::default(), at(10)).await.unwrap().groups;
    assert_eq!(all.iter().map(|g| g.count).collect::<Vec<_>>(), [2, 3]);
}

async fn a_split_moves_what_is_there_and_what_comes(store: &Store) {
    let numpy = fail(store, "v1:a", "No module named NumPy", 0).await;
    fail(store, "v1:a", "No module named scipy", 1).await;
    let part = store.split_group("v1:a", "numpy", "ada", at(2)).await.unwrap();
    fail(store, "v1:a", "Still no numpy", 3).await;
    assert_eq!(store.get(&numpy.to_string()).await.unwrap().diagnosis.unwrap().signature, part);
    assert_eq!(store.group(&part, at(4)).await.unwrap().unwrap().count, 2);
    assert_eq!(store.group("v1:a", at(4)).await.unwrap().unwrap().count, 1);
    // saved twice it counts once, under the signature that it was given
    for _ in 0..2 {
        let failure = saved(Some("x"), 5, diagnosis("v1:a", "numpy"), None);
        store.save_diagnoses(vec![failure]).await.unwrap();
    }
    assert_eq!(store.group(&part, at(4)).await.unwrap().unwrap().count, 3);
}

async fn a_correction_decides_and_is_taken_back(store: &Store) {
    let first = fail(store, "v1:a", "It crashed.", 0).await;
    let second = fail(store, "v1:a", "It crashed.", 1).await;
    let ruling = Ruling {
        category: Some(Category::ResourceError),
        severity: Some(Severity::Critical),
        cause: Some("The disk of node 7 is full.".into()),
        ..Ruling::default()
    };
    let correction = store.correct("v1:a", ruling.clone(), "ada", at(2), Some(&second)).await.unwrap();
    let said = async |id: &crate::ExperimentId| {
        let diagnosis = store.get(&id.to_string()).await.unwrap().diagnosis.unwrap();
        (diagnosis.failure_category, diagnosis.root_cause, diagnosis.provenance.source)
    };
    let corrected = (Category::ResourceError, "The disk of node 7 is full.".to_owned(), Said::Human);
    let before = said(&first).await;
    assert_eq!(before.2, Said::Rule);
    assert_eq!(said(&second).await, corrected);
    // from now on
    let third = fail(store, "v1:a", "It crashed again.", 3).await;
    assert_eq!(said(&third).await, corrected);
    let listed = store.list(Query { category: Some(Category::ResourceError), ..Query::default() }).await;
    assert_eq!(listed.unwrap().total_count, 2);
    // the past, asked and then done
    let replay = store.replay(correction.id, false).await.unwrap();
    assert_eq!((replay.looked_at, replay.changed, replay.changes.len()), (3, 1, 1));
    assert_eq!(replay.changes[0].experiment, first);
    assert_eq!(replay.changes[0].to.root_cause, "The disk of node 7 is full.");
    assert_eq!(said(&first).await, before);
    assert_eq!(store.replay(correction.id, true).await.unwrap().changed, 1);
    assert_eq!(said(&first).await, corrected);
    assert_eq!(store.replay(correction.id, true).await.unwrap().changed, 0);
    // a model's answer that comes late does not overrule a person
    store.attach_diagnosis(&third, diagnosis("v1:a", "A model thinks so.")).await.unwrap();
    assert_eq!(said(&third).await, corrected);
    // taken back
    assert!(store.take_back(correction.id, "bob", at(9)).await.unwrap());
    assert_eq!(said(&first).await, before);
    assert_eq!(said(&third).await.1, "A model thinks so.");
    assert!(!store.take_back(77, "bob", at(9)).await.unwrap());
    let all = store.corrections(None).await.unwrap();
    assert_eq!((all.len(), all[0].undone_by.as_deref(), &all[0].ruling), (1, Some("bob"), &ruling));
    assert!(matches!(store.replay(correction.id, false).await, Err(Error::NoCorrection { .. })));
    // a second takes the place of the first
    let of = |text: &str| Ruling { fix: Some(text.to_owned()), ..Ruling::default() };
    store.correct("v1:a", of("one"), "ada", at(10), None).await.unwrap();
    store.correct("v1:a", of("two"), "ada", at(11), None).await.unwrap();
    let fourth = fail(store, "v1:a", "It crashed.", 12).await;
    assert_eq!(store.get(&fourth.to_string()).await.unwrap().diagnosis.unwrap().fix_suggestion, "two");
    assert_eq!(store.corrections(Some("v1:a")).await.unwrap().len(), 3);
    assert!(store.correct("v1:none", ruling, "ada", at(0), None).await.is_err());
}

async fn votes_are_counted(store: &Store) {
    let id = fail(store, "v1:a", "x", 0).await;
    store.vote(&id, "ada", Some(true), at(1)).await.unwrap();
    store.vote(&id, "ada", Some(false), at(2)).await.unwrap();
    let votes = store.vote(&id, "bob", Some(true), at(2)).await.unwrap();
    assert_eq!((votes.helpful, votes.unhelpful), (1, 1));
    store.vote(&id, "bob", None, at(3)).await.unwrap();
    assert_eq!(store.votes(&id).await.unwrap().helpful, 0);
}

async fn what_happens_is_told_in_order(store: &Store) {
    let begin = store.latest_happening().await.unwrap();
    let id = store.begin(new("run", "train", "python", 5)).await.unwrap();
    let outcome = Outcome { diagnosis: Some(diagnosis("v1:a", "x")), ..ended(Status::Failed, 6) };
    store.finish(&id, outcome).await.unwrap();
    store.attach_diagnosis(&id, diagnosis("v1:b", "y")).await.unwrap();
    // the same again is nothing new
    store.attach_diagnosis(&id, diagnosis("v1:b", "y")).await.unwrap();
    store.save_diagnoses(vec![saved(Some("s"), 0, diagnosis("v1:c", "z"), None)]).await.unwrap();
    let passed = store.begin(new("ok", "train", "python", 7)).await.unwrap();
    store.finish(&passed, ended(Status::Passed, 8)).await.unwrap();
    let all = store.happenings(begin, 100).await.unwrap();
    let told: Vec<_> = all.iter().map(|it| (it.what, it.experiment.id.to_string())).collect();
    let expected = [
        (What::Started, "run"),
        (What::Ended, "run"),
        (What::Diagnosed, "run"),
        (What::Ended, "s"),
        (What::Started, "ok"),
        (What::Ended, "ok"),
    ];
    assert_eq!(told, expected.map(|(what, id)| (what, id.to_owned())));
    assert_eq!(store.happenings(all[3].id, 1).await.unwrap()[0].id, all[4].id);
    assert_eq!(store.latest_happening().await.unwrap(), all[5].id);
}

async fn counts_over_time(store: &Store) {
    fail(store, "v1:a", "x", 0).await;
    fail(store, "v1:b", "x", 3600).await;
    let passed = store.begin(new("ok", "eval", "python", 3601)).await.unwrap();
    store.finish(&passed, ended(Status::Passed, 3602)).await.unwrap();
    let hours = store.series(at(0), at(3700), By::Status, Step::Hour).await.unwrap();
    assert_eq!(hours.len(), 2);
    assert_eq!((hours[0].counts["failed"], hours[1].counts["failed"], hours[1].counts["passed"]), (1, 1, 1));
    let days = store.series(at(0), at(86_400), By::Type, Step::Day).await.unwrap();
    assert_eq!((days.len(), days[0].counts["train"], days[0].counts["eval"]), (2, 2, 1));
    for by in [By::Category, By::Severity, By::Origin] {
        let days = store.series(at(0), at(1), by, Step::Day).await.unwrap();
        assert_eq!(days[0].counts.values().sum::<u64>(), 2, "{by:?}");
    }
}

async fn silence_is_noticed(store: &Store) {
    let id = store.begin(new("far", "train", "python", 0)).await.unwrap();
    store.beat(&id, at(0), Duration::from_secs(60)).await.unwrap();
    let unheard = async |now, since| store.unheard(at(now), at(since)).await.unwrap();
    assert_eq!(unheard(59, 0).await, []);
    assert_eq!(unheard(61, 0).await, std::slice::from_ref(&id));
    // who did not listen has heard nothing
    assert_eq!(unheard(90, 40).await, []);
    assert_eq!(unheard(101, 40).await, std::slice::from_ref(&id));
    store.beat(&id, at(61), Duration::from_secs(60)).await.unwrap();
    assert_eq!(unheard(62, 0).await, []);
    // but nobody waits for days
    store.beat(&id, at(62), Duration::from_secs(86_400)).await.unwrap();
    let tomorrow = 62 + 86_401;
    assert_eq!(unheard(tomorrow, tomorrow - 3599).await, []);
    assert_eq!(unheard(tomorrow, tomorrow - 3601).await, std::slice::from_ref(&id));
    store.finish(&id, ended(Status::Passed, 63)).await.unwrap();
    assert_eq!(unheard(tomorrow, 0).await, []);
    let late = store.beat(&id, at(64), Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(late, Error::AlreadyFinished { .. }));
}

async fn people_and_tokens(store: &Store) {
    let now = Timestamp::now();
    assert!(store.add_user("ada", Role::Admin, "$argon2id$1", now).await.unwrap());
    assert!(!store.add_user("ada", Role::Viewer, "$argon2id$2", now).await.unwrap());
    let credentials = store.credentials("ada").await.unwrap().unwrap();
    assert_eq!((credentials.password.as_str(), credentials.role), ("$argon2id$1", Role::Admin));
    assert!(!format!("{credentials:?}").contains("argon"));
    for nobody in ["bob", "", &"x".repeat(3000)] {
        assert!(store.credentials(nobody).await.unwrap().is_none());
    }
    // a session ends by its time, by hand, with another password, and with its user
    let hour = now + 1.hour();
    for ends in 0..4 {
        store.begin_session([1; 32], "ada", now, hour).await.unwrap();
        assert_eq!(store.session([1; 32], now).await.unwrap(), Some(("ada".into(), Role::Admin)));
        let later = if ends == 0 { hour + 1.second() } else { now };
        match ends {
            1 => store.end_session([1; 32]).await.unwrap(),
            2 => assert!(store.set_password("ada", "$argon2id$3").await.unwrap()),
            3 => assert!(store.remove_user("ada").await.unwrap()),
            _ => {}
        }
        assert_eq!(store.session([1; 32], later).await.unwrap(), None, "{ends}");
    }
    assert!(!store.remove_user("ada").await.unwrap());
    store.add_user("eve", Role::Viewer, "x", now).await.unwrap();
    assert!(store.set_totp("eve", Some(vec![7; 20])).await.unwrap());
    assert!(store.use_totp("eve", 100).await.unwrap());
    assert!(!store.use_totp("eve", 100).await.unwrap(), "no code counts twice");
    assert!(store.users().await.unwrap()[0].second_factor);

    let token = store.add_token("ci", TokenScope::Report, [2; 32], "eve", now).await.unwrap().unwrap();
    assert!(store.add_token("ci", TokenScope::Read, [3; 32], "eve", now).await.unwrap().is_none());
    store.token_used(token.id, now).await.unwrap();
    store.token_used(token.id, now + 1.second()).await.unwrap();
    let kept = store.token([2; 32]).await.unwrap().unwrap();
    assert_eq!(kept.last_used.unwrap().as_millisecond(), now.as_millisecond(), "noted once a minute");
    assert!(store.revoke_token("ci", now).await.unwrap());
    assert!(!store.revoke_token("ci", now).await.unwrap());
    assert!(store.token([2; 32]).await.unwrap().is_none());
    assert!(store.tokens().await.unwrap()[0].revoked_at.is_some());
}

async fn whoever_is_switched_off_is_out_and_the_last_admin_stays(store: &Store) {
    let now = Timestamp::now();
    for (name, role) in [("ada", Role::Admin), ("bob", Role::Viewer)] {
        assert!(store.add_user(name, role, "x", now).await.unwrap());
    }
    let change = async |name, role, disabled| store.change_user(name, role, disabled, now).await.unwrap();
    assert_eq!(change("eve", Some(Role::Admin), None).await, UserChange::Nobody);
    assert_eq!(change("ada", Some(Role::Viewer), None).await, UserChange::LastAdmin);
    assert_eq!(change("ada", None, Some(true)).await, UserChange::LastAdmin);
    assert_eq!(change("bob", Some(Role::Admin), Some(true)).await, UserChange::Done);
    assert_eq!(change("ada", None, Some(true)).await, UserChange::LastAdmin, "bob may not sign in");
    assert_eq!(change("bob", None, Some(false)).await, UserChange::Done);
    store.begin_session([1; 32], "ada", now, now + 1.hour()).await.unwrap();
    assert_eq!(change("ada", None, Some(true)).await, UserChange::Done);
    assert_eq!(store.session([1; 32], now).await.unwrap(), None);
    assert!(store.credentials("ada").await.unwrap().unwrap().disabled);
    // a session that begins all the same is none
    store.begin_session([1; 32], "ada", now, now + 1.hour()).await.unwrap();
    assert_eq!(store.session([1; 32], now).await.unwrap(), None);
    assert_eq!(store.users().await.unwrap()[0].disabled_at.unwrap().as_second(), now.as_second());
    assert_eq!(change("ada", Some(Role::Viewer), Some(false)).await, UserChange::Done);
    assert_eq!(store.credentials("ada").await.unwrap().unwrap().role, Role::Viewer);
}

async fn rules_are_silenced_and_speak_again(store: &Store) {
    assert!(store.silence("cuda.oom", Some("ada"), at(5)).await.unwrap());
    assert!(!store.silence("cuda.oom", Some("bob"), at(6)).await.unwrap(), "it is already");
    let kept = store.silenced().await.unwrap();
    assert_eq!((kept.len(), kept[0].rule.as_str(), kept[0].by.as_str()), (1, "cuda.oom", "ada"));
    assert!(store.silence("cuda.oom", None, at(7)).await.unwrap());
    assert!(!store.silence("cuda.oom", None, at(8)).await.unwrap());
    assert_eq!(store.silenced().await.unwrap(), []);
}

async fn the_code_of_a_reported_failure_is_kept_with_it(store: &Store) {
    let failure = saved(Some("far"), 0, diagnosis("v1:a", "x"), None);
    let id = store.save_diagnoses(vec![failure]).await.unwrap().remove(0).id;
    assert!(matches!(store.candidate_code(&id).await, Err(Error::NotACandidate { .. })));
    store.keep_source(&id, b"import torch\n").await.unwrap();
    store.keep_source(&id, b"import numpy\n").await.unwrap();
    assert_eq!(store.candidate_code(&id).await.unwrap(), b"import numpy\n");
}

async fn what_a_month_has_cost(store: &Store) {
    let month = (date(2026, 11, 1), date(2026, 11, 30));
    assert_eq!(store.spent_within(month.0, month.1).await.unwrap(), Spent::default());
    for (day, calls) in [(date(2026, 10, 31), 1), (month.0, 2), (month.1, 4), (date(2026, 12, 1), 8)] {
        store.record_spend(day, Spent { calls, dollars: 0.5 }).await.unwrap();
    }
    assert_eq!(store.spent_within(month.0, month.1).await.unwrap(), Spent { calls: 6, dollars: 1.0 });
}

async fn a_reported_failure_keeps_how_it_ended(store: &Store) {
    let exit = ended(Status::Failed, 0).exit;
    let failure = crate::SavedFailure {
        command: command("python train.py"),
        exit: exit.clone(),
        reason: Some("exit status 1".into()),
        ..saved(Some("far"), 0, diagnosis("v1:a", "x"), Some(log_of(store, b"it broke\n").await))
    };
    store.save_diagnoses(vec![failure]).await.unwrap();
    let kept = store.get("far").await.unwrap();
    assert_eq!((kept.exit, kept.reason.as_deref()), (exit, Some("exit status 1")));
    assert_eq!(kept.listed.command, command("python train.py"));
    assert_ne!(kept.listed.command, CommandLine::default());
    assert_eq!(kept.listed.duration, Some(Duration::from_millis(1500)));
    assert!(kept.log.is_some());
}

async fn an_overview_is_made_of_its_parts(store: &Store) {
    for n in 0..40 {
        fail(store, &format!("v1:{}", n % 5), "It crashed.", n * 9000).await;
    }
    store.begin(new("runs", "train", "python", 40 * 9000)).await.unwrap();
    let now = at(40 * 9000 + 60);
    let query = crate::OverviewQuery { days: 5, newest: 3, top: 4, running: 2 };
    let found = store.overview(query, now).await.unwrap();
    let ago = |hours: i64| now - hours.hours();
    assert_eq!(found.day, store.summary(ago(24), now).await.unwrap());
    assert_eq!(found.before, store.summary(ago(48), ago(24)).await.unwrap());
    assert!(found.day.total > 0 && found.before.total > 0);
    let within = crate::Within { since: Some(ago(24)), ..crate::Within::default() };
    let costs = store.costs(within).await.unwrap();
    assert_eq!(found.day_costs, crate::Costs { signatures: 0, ..costs });
    assert_eq!((found.newest.len(), found.days.len(), found.top.len()), (3, 5, 4));
    for (cost, trend) in &found.top {
        assert_eq!(*trend, store.group(&cost.signature, now).await.unwrap().unwrap().trend);
        assert_eq!(trend.iter().sum::<u64>(), 8, "{cost:?}");
    }
    assert_eq!((found.running.running_commands, found.running.experiments.len(), found.empty), (1, 1, false));
}

async fn a_version_changes_with_every_write(store: &Store) {
    let mut before = store.version().await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    let id = fail(store, "v1:a", "x", 0).await;
    for write in 0..3 {
        match write {
            0 => {}
            1 => store.decide("v1:a", crate::Decision::Resolve, "ada", at(1)).await.unwrap(),
            _ => _ = store.vote(&id, "ada", Some(true), at(1)).await.unwrap(),
        }
        let after = store.version().await.unwrap();
        assert!(after != before, "{write}");
        before = after;
    }
}

async fn what_people_decided_is_told_to_alerts(store: &Store) {
    store.expect_alerts().await.unwrap();
    fail(store, "v1:a", "x", 0).await;
    fail(store, "v1:b", "x", 1).await;
    store.join_groups("v1:b", "v1:a").await.unwrap();
    store.decide("v1:a", Decision::Mute(None), "ada", at(10)).await.unwrap();
    let told = async || {
        let round = store.alert_round(100).await.unwrap().unwrap();
        let told = |event: &crate::AlertEvent| match &event.cause {
            crate::AlertCause::Failed(it) => (it.signature.clone(), it.is_new, it.is_quiet, it.reopened),
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = round.events.iter().map(told).collect();
        let done = round.events.iter().map(|event| event.id).collect();
        let step = crate::AlertStep { version: round.version, done, ..crate::AlertStep::default() };
        assert!(store.settle_alerts(step).await.unwrap());
        all
    };
    let a = || "v1:a".to_owned();
    assert_eq!(told().await, [(a(), true, true, false), (a(), false, true, false)]);
    fail(store, "v1:b", "x", 20).await;
    assert_eq!(told().await, [(a(), false, true, false)]);
    store.decide("v1:b", Decision::Resolve, "ada", at(30)).await.unwrap();
    fail(store, "v1:a", "x", 25).await;
    fail(store, "v1:b", "x", 40).await;
    fail(store, "v1:b", "x", 41).await;
    // the one before it was resolved is looked at after it opened again
    assert_eq!(
        told().await,
        [(a(), false, false, false), (a(), false, false, true), (a(), false, false, false)]
    );
}
