//! What each operation takes of a table, in requests and units: the same however much is kept, and what docs/dynamodb.md
//! says.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::given::{at, command, diagnosis, ended, log_of, new, saved};
use super::{candidates, dynamo};
use crate::dynamodb::{Dynamo, Used};
use crate::{
    By, CandidateOutcome, Decision, GroupQuery, Outcome, OverviewQuery, Query, Role, Ruling, Scope, Sort,
    SortBy, Status, Step, Store, TokenScope, TopOrder, TopQuery, Within,
};

/// Set where the emulator is Amazon's, whose units are those of the document: others count them otherwise.
const AMAZONS: &str = "CORONER_TEST_AMAZONS";
const DOCUMENT: &str = include_str!("../../../../docs/dynamodb.md");

/// Fills the store up to so many failures, of one kind: what is counted must not depend on how many there are.
async fn fill(store: &Store, from: i64, to: i64) {
    for n in from..to {
        let failure = saved(
            Some(&format!("kept-{n:04}")),
            n * 10,
            diagnosis("v1:known", "It ran out of memory."),
            None,
        );
        store.save_diagnoses(vec![failure]).await.unwrap();
        super::given::passed(
            store,
            &format!("fine-{n:04}"),
            "train",
            "python t.py",
            n * 10 + 5,
            "all is well",
        )
        .await;
    }
}

async fn measure(store: &Store, backend: &Arc<Dynamo>, round: i64) -> Vec<(&'static str, Used)> {
    let mut all = Vec::new();
    let within = || Within { since: Some(at(0)), until: Some(at(3000)), scope: Scope::All };
    macro_rules! of {
        ($what:literal, $work:expr) => {{
            backend.used();
            let done = $work.await.unwrap();
            all.push(($what, backend.used()));
            done
        }};
    }
    let cause = "It ran out of memory.";
    let id = of!("begin", store.begin(new(&format!("run-{round}"), "train", "python t.py", 9000 + round)));
    let outcome = Outcome {
        diagnosis: Some(diagnosis("v1:known", cause)),
        log: Some(log_of(store, format!("log {round}").as_bytes()).await),
        ..ended(Status::Failed, 9001)
    };
    of!("end, with a log and a diagnosis of a known cause", store.finish(&id, outcome));
    let failure = || vec![saved(Some(&format!("told-{round}")), 9000, diagnosis("v1:known", cause), None)];
    of!("a failure that others report", store.save_diagnoses(failure()));
    of!("the same again", store.save_diagnoses(failure()));
    of!("one by its id", store.get(&format!("run-{round}")));
    of!("one by its number", store.numbered(id.number()));
    let page = |query: Query| store.list(Query { limit: Some(5), ..query });
    of!("a page of 5", page(Query::default()));
    of!("a page of 5, filtered by status", page(Query { status: Some(Status::Failed), ..Query::default() }));
    let worst = Sort { by: SortBy::Severity, descending: true };
    of!("a page of 5, the worst first", page(Query { sort: worst, ..Query::default() }));
    let longest = Sort { by: SortBy::Duration, descending: true };
    of!("a page of 5, the longest first", page(Query { sort: longest, ..Query::default() }));
    let of_cause = Query { signature: Some("v1:known".into()), ..Query::default() };
    of!("a page of 5, of one cause", page(of_cause));
    of!("totals", store.totals());
    of!("counts of a window", store.summary(at(0), at(3000)));
    of!("costs, of everything", store.costs(Within::default()));
    of!("costs of a window", store.costs(within()));
    let top =
        TopQuery { within: within(), origin: None, failures_only: true, order: TopOrder::Count, limit: 5 };
    of!("the worst causes of a window", store.top_signatures(top));
    of!("what is known of a cause", store.signature_stats("v1:known"));
    of!("3 similar failures", store.similar("v1:known", cause, None, 3));
    of!("the last success", store.last_success("train", &command("python t.py")));
    let run = candidates::run_of(store, "bare", 0).await;
    let made = candidates::made(run, "a = 1", &[]);
    let id = candidates::begun(store, candidates::made(run, "a = 2", &[]), 9000).await;
    of!("claim a code and begin", store.begin_candidate(new("", "", "t", 9000), made.clone()));
    of!("a code that is known", store.begin_candidate(new("", "", "t", 9000), made));
    let failed = candidates::died("v1:known", 9001);
    of!("end of a candidate", store.finish_candidate(&id, failed, CandidateOutcome::default()));
    desk(store, backend, &mut all, &known(store, round).await).await;
    all
}

/// One that failed for the known cause.
async fn known(store: &Store, round: i64) -> crate::ExperimentId {
    store.get(&format!("run-{round}")).await.unwrap().listed.id
}

/// What the desk asks and decides.
async fn desk(
    store: &Store,
    backend: &Arc<Dynamo>,
    all: &mut Vec<(&'static str, Used)>,
    id: &crate::ExperimentId,
) {
    let (known, now) = ("v1:known", at(9002));
    macro_rules! of {
        ($what:literal, $work:expr) => {{
            backend.used();
            let done = $work.await.unwrap();
            all.push(($what, backend.used()));
            done
        }};
    }
    of!("has anything changed", store.version());
    let overview = OverviewQuery { days: 14, newest: 5, top: 5, running: 5 };
    of!("the overview", store.overview(overview, now));
    of!("a page of groups, of two", store.groups(GroupQuery::default(), now));
    of!("one group", store.group(known, now));
    of!("counts of fourteen days", store.series(at(-13 * 86_400), now, By::Category, Step::Day));
    of!("a group is resolved", store.decide(known, Decision::Resolve, "ada", now));
    of!("a group is opened", store.decide(known, Decision::Open, "ada", now));
    let ruling = Ruling { fix: Some("Take less.".into()), ..Ruling::default() };
    let correction = of!("a correction", store.correct(known, ruling, "ada", now, Some(id)));
    of!("a correction that covered one, taken back", store.take_back(correction.id, "ada", now));
    of!("a vote", store.vote(id, "ada", Some(true), now));
    of!("votes", store.votes(id));
    let far = store.begin(new("", "train", "python t.py", 9003)).await.unwrap();
    of!("a run goes on, somebody says", store.beat(&far, now, Duration::from_secs(60)));
    of!("of whom nothing was heard", store.unheard(now, now - Duration::from_secs(7200)));
    let latest = of!("the latest event", store.latest_happening());
    of!("events since, none", store.happenings(latest, 200));
    of!("events since, three", store.happenings(latest - 3, 200));
    let (hour, moment) = (Duration::from_secs(3600), jiff::Timestamp::now());
    let name = format!("ada-{}", id.number());
    let hash = std::array::from_fn(|n| id.number().to_le_bytes()[n % 8]);
    of!("a user is added", store.add_user(&name, Role::Admin, "$argon2id$1", moment));
    of!("somebody logs in", store.begin_session(hash, &name, moment, moment + hour));
    of!("a request with a session", store.session(hash, moment));
    of!("a token is made", store.add_token(&name, TokenScope::Report, hash, "ada", moment));
    of!("a request with a token", store.token(hash));
    store.finish(&far, ended(Status::Passed, 9004)).await.unwrap();
}

#[tokio::test]
async fn on_dynamodb_costs() {
    let Some((backend, logs, _folder)) = dynamo::backend("on_dynamodb_costs").await else { return };
    let store = Store::over(backend.clone(), logs);
    fill(&store, 0, 10).await;
    // whatever is made at first
    measure(&store, &backend, 0).await;
    let few = measure(&store, &backend, 1).await;
    fill(&store, 10, 60).await;
    let many = measure(&store, &backend, 2).await;
    // what is read of a word's causes and of a window ends at a limit, and grows by its size until there
    let (counts_as_amazon, growth) =
        if std::env::var_os(AMAZONS).is_some() { (true, 2.51) } else { (false, 1.01) };
    let mut table = String::from("| operation | requests | units |\n|---|---|---|\n");
    for ((what, before), (_, after)) in few.iter().zip(&many) {
        assert_eq!(before.requests, after.requests, "{what}: requests grow with what is kept");
        assert!((before.units - after.units).abs() < growth, "{what}: units grow: {before:?}, {after:?}");
        writeln!(table, "| {what} | {} | {:.0} |", after.requests, after.units).unwrap();
    }
    let told =
        DOCUMENT.split("<!-- costs -->\n").nth(1).and_then(|rest| rest.split("<!-- /costs -->").next());
    let told = told.unwrap_or_default();
    let columns = |table: &str| -> (Vec<String>, Vec<f64>) {
        let both = table.lines().filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
        both.map(|(requests, units)| (requests.to_owned(), units.parse::<f64>().unwrap_or_default())).unzip()
    };
    let (said, found) = (columns(told), columns(&table));
    assert_eq!(said.0, found.0, "docs/dynamodb.md says something else of the requests");
    // names and times are a byte longer or shorter each time, and a kilobyte is full or not
    let near = said.1.iter().zip(&found.1).all(|(said, found)| (said - found).abs() <= 1.0);
    assert!(near || !counts_as_amazon, "docs/dynamodb.md says something else; it should say:\n{table}");
}
