//! What the suite's cases start from.

use std::time::Duration;

use coroner_diagnosis::{Category, Diagnosis, End, Exit, Origin, Severity};
use jiff::Timestamp;

use crate::{CommandLine, ExperimentId, Log, NewExperiment, Outcome, Owner, SavedFailure, Status, Store};

/// A moment of a night in October 2025, so many seconds into it.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_667_000 + seconds).unwrap()
}

pub(crate) fn command(line: &str) -> CommandLine {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

pub(crate) fn new(id: &str, kind: &str, line: &str, seconds: i64) -> NewExperiment {
    NewExperiment {
        id: (!id.is_empty()).then(|| id.to_owned()),
        experiment_type: kind.to_owned(),
        command: command(line),
        cwd: "/work".to_owned(),
        owner: Owner::this_process(),
        started_at: at(seconds),
    }
}

pub(crate) fn diagnosis(signature: &str, cause: &str) -> Diagnosis {
    let mut diagnosis: Diagnosis =
        serde_json::from_str(include_str!("../../fixtures/records/v1/smallest.json")).unwrap();
    diagnosis.signature = signature.to_owned();
    diagnosis.root_cause = cause.to_owned();
    diagnosis
}

pub(crate) fn verdict(category: Category, severity: Severity, origin: Origin) -> Diagnosis {
    let signature = format!("v1:{category}{severity}{origin}");
    Diagnosis {
        failure_category: category,
        severity,
        origin,
        ..diagnosis(&signature, &format!("It is a {category}."))
    }
}

pub(crate) fn ended(status: Status, seconds: i64) -> Outcome {
    let code = i32::from(!status.succeeded());
    let exit = Exit {
        end: End::Exited { code },
        wall: Duration::from_millis(1500),
        cpu: None,
        peak_memory: Some(1 << 20),
    };
    Outcome { status, exit: Some(exit), ended_at: at(seconds), reason: None, log: None, diagnosis: None }
}

/// One that succeeded.
pub(crate) async fn passed(
    store: &Store,
    id: &str,
    kind: &str,
    line: &str,
    seconds: i64,
    log: &str,
) -> ExperimentId {
    let id = store.begin(new(id, kind, line, seconds)).await.unwrap();
    let log = Some(log_of(store, log.as_bytes()).await);
    store.finish(&id, Outcome { log, ..ended(Status::Passed, seconds + 1) }).await.unwrap();
    id
}

/// One that failed.
pub(crate) async fn failed(
    store: &Store,
    id: &str,
    kind: &str,
    line: &str,
    seconds: i64,
    diagnosis: Diagnosis,
) -> ExperimentId {
    let id = store.begin(new(id, kind, line, seconds)).await.unwrap();
    let diagnosis = Some(diagnosis);
    store.finish(&id, Outcome { diagnosis, ..ended(Status::Failed, seconds + 1) }).await.unwrap();
    id
}

pub(crate) async fn log_of(store: &Store, bytes: &[u8]) -> Log {
    store.keep_log(std::io::Cursor::new(bytes.to_vec())).await.unwrap()
}

pub(crate) fn saved(id: Option<&str>, seconds: i64, diagnosis: Diagnosis, log: Option<Log>) -> SavedFailure {
    SavedFailure {
        id: id.map(str::to_owned),
        experiment_type: "batch".to_owned(),
        at: at(seconds),
        command: CommandLine::default(),
        exit: None,
        reason: None,
        diagnosis,
        log,
    }
}

pub(crate) fn names(experiments: &[crate::Listed]) -> Vec<String> {
    experiments.iter().map(|listed| listed.id.to_string()).collect()
}

/// Bytes that don't become smaller, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(length).collect()
}

/// The same numbers on every run (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[(self.next() >> 33) as usize % all.len()]
    }
}
