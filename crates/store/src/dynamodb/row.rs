//! An experiment as one item: everything that is known of it, and the attributes by which indexes find it.

use std::time::Duration;

use coroner_diagnosis::Diagnosis;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::client::{Item, Key, s, text};
use super::words::Words;
pub(super) use crate::record::{LogRef, Named, Over, Row, Tested};
use crate::{
    Analysis, Candidate, CandidateFailure, CommandLine, Cost, Error, Experiment, ExperimentId, Listed,
    LogFacts, LogId, NewExperiment, RunId, Running, Status, TableTrouble,
};

/// Bits of a key below the milliseconds.
const KEY_BITS: u32 = 21;
const LAST_MILLISECOND: i64 = (1 << (63 - KEY_BITS)) - 1;
/// The list's index is spread over so many partitions, and so are the combinations of words that all experiments pass.
pub(super) const SPREAD: u64 = 4;
/// Records that are larger are compressed; those that are still larger than this are refused: an item has 400 kB.
const PLAIN: usize = 32 * 1024;
const LARGEST: usize = 360 * 1024;
/// A billionth of a dollar is the unit of what is kept.
pub(super) const NANO: f64 = 1e9;

/// The first key of this moment.
pub(super) fn first_key(at: Timestamp) -> i64 {
    at.as_millisecond().clamp(0, LAST_MILLISECOND) << KEY_BITS
}

/// The moment of a key.
pub(super) fn moment(key: i64) -> Timestamp {
    Timestamp::from_millisecond(key >> KEY_BITS).unwrap_or_default()
}

/// Numbers that sort as text.
pub(super) fn hex(number: i64) -> String {
    format!("{:016x}", number.max(0))
}

pub(super) fn unhex(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 16).ok()
}

/// Whole numbers, so that many small sums add up exactly.
pub(super) fn nanodollars(dollars: f64) -> i64 {
    (dollars * NANO).round() as i64
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX >> 20).min(i64::MAX >> 20)
}

impl Tested {
    /// Itself and what it mends.
    pub(super) fn all_parents(&self) -> impl Iterator<Item = &Named> {
        self.parents.iter().chain(&self.repair_of)
    }

    /// It ran and something was measured.
    pub(super) fn was_measured(&self) -> bool {
        !self.metrics.is_empty()
    }
}

pub(super) fn key_of(number: u64) -> Key {
    (format!("E#{number}"), "-".to_owned())
}

pub(super) fn number_of(item: &Item) -> Option<u64> {
    text(item, "pk")?.strip_prefix("E#")?.parse().ok()
}

/// Where attempts of a name stand.
pub(super) fn name_key(name: &str, attempt: u32) -> Key {
    (format!("N#{name}"), format!("{attempt:010}"))
}

/// The same for the same command of the same type.
pub(super) fn command_hash(command: &CommandLine) -> String {
    let json = serde_json::to_vec(command).unwrap_or_default();
    Sha256::digest(&json).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// Of combinations that nearly every experiment passes there is more than one partition.
pub(super) fn partitions(words: Words) -> u64 {
    if matches!(words.status, Status::Running | Status::Passed) { SPREAD } else { 1 }
}

impl Row {
    pub(super) fn new(number: u64, name: String, attempt: u32, new: NewExperiment) -> Self {
        Self {
            number,
            name,
            attempt,
            key: first_key(new.started_at) | (number as i64 & ((1 << KEY_BITS) - 1)),
            kind: new.experiment_type,
            command: new.command,
            cwd: new.cwd,
            owner: Some(new.owner),
            status: Status::Running,
            ended_at: None,
            exit: None,
            reason: None,
            log: None,
            log_note: None,
            diagnosis: None,
            tested: None,
            over: None,
            is_given: false,
        }
    }

    /// Gives it another diagnosis.
    pub(super) fn judge(&mut self, diagnosis: Option<Diagnosis>) {
        self.is_given = diagnosis.is_some();
        (self.diagnosis, self.over) = (diagnosis, None);
    }

    /// The diagnosis before any person's word.
    pub(super) fn original(&self) -> Option<&Diagnosis> {
        self.over.as_ref().map(|over| &over.diagnosis).or(self.diagnosis.as_ref())
    }

    pub(super) fn id(&self) -> ExperimentId {
        ExperimentId::new(self.name.clone(), self.attempt, self.number)
    }

    pub(super) fn named(&self) -> Named {
        (self.name.clone(), self.attempt, self.number)
    }

    pub(super) fn words(&self) -> Words {
        Words::of(self.status, self.diagnosis.as_ref())
    }

    pub(super) fn signature(&self) -> Option<&str> {
        self.diagnosis.as_ref().map(|d| d.signature.as_str())
    }

    pub(super) fn wall(&self) -> Option<i64> {
        self.exit.as_ref().map(|exit| micros(exit.wall))
    }

    pub(super) fn cpu(&self) -> i64 {
        self.exit.as_ref().and_then(|exit| exit.cpu).map_or(0, micros)
    }

    pub(super) fn nanodollars(&self) -> i64 {
        let proposal = self.tested.as_ref().map_or(0, |it| it.nanodollars);
        proposal + nanodollars(self.diagnosis.as_ref().and_then(|d| d.cost_usd).unwrap_or(0.0))
    }

    pub(super) fn log_id(&self) -> Option<LogId> {
        self.log.as_ref().and_then(|log| LogId::parse(&log.id))
    }

    /// Where it stands among those that took longest: those of which nobody knows stand apart.
    pub(super) fn wall_sort(&self) -> String {
        match self.wall() {
            Some(wall) => format!("w{}{}", hex(wall), hex(self.key)),
            None => format!("n{}", hex(self.key)),
        }
    }

    pub(super) fn cost_sort(&self) -> String {
        format!("{}{}", hex(self.nanodollars()), hex(self.key))
    }

    pub(super) fn words_partition(&self) -> String {
        let words = self.words();
        format!("{}{}", words.code(), self.number % partitions(words))
    }

    /// The whole item; `version` grows with each change.
    pub(super) fn item(&self, table: &str, version: u64) -> Result<Item, Error> {
        let key = key_of(self.number);
        let mut item = Item::from([
            ("pk".to_owned(), s(key.0)),
            ("sk".to_owned(), s(key.1)),
            ("v".to_owned(), super::client::n(version)),
            ("a".to_owned(), s(format!("A{}", self.number % SPREAD))),
            ("k".to_owned(), s(hex(self.key))),
            ("w".to_owned(), s(self.words_partition())),
            ("t".to_owned(), s(self.wall_sort())),
            ("c".to_owned(), s(self.cost_sort())),
        ]);
        if let Some(signature) = self.signature() {
            item.insert("g".to_owned(), s(format!("G{signature}")));
            item.insert("gk".to_owned(), s(format!("{}{}", self.words().code(), hex(self.key))));
        }
        let record = serde_json::to_string(self).map_err(|e| Error::record(self.id(), e))?;
        let too_large =
            |bytes| Error::Table { table: table.to_owned(), trouble: TableTrouble::TooLarge { bytes } };
        match record.len() {
            0..=PLAIN => item.insert("r".to_owned(), s(record)),
            length => {
                let packed = zstd::encode_all(record.as_bytes(), 3).map_err(|_| too_large(length))?;
                if packed.len() > LARGEST {
                    return Err(too_large(packed.len()));
                }
                item.insert("z".to_owned(), aws_sdk_dynamodb::types::AttributeValue::B(packed.into()))
            }
        };
        Ok(item)
    }

    pub(super) fn parse(item: &Item) -> Result<Self, Error> {
        let number = || number_of(item).unwrap_or_default();
        let unreadable = |e| Error::record(number(), e);
        if let Some(record) = text(item, "r") {
            return serde_json::from_str(record).map_err(unreadable);
        }
        let packed = item.get("z").and_then(|z| z.as_b().ok()).map_or(&[][..], |blob| blob.as_ref());
        let record = zstd::decode_all(packed).unwrap_or_default();
        serde_json::from_slice(&record).map_err(unreadable)
    }

    pub(super) fn listed(&self) -> Listed {
        Listed {
            id: self.id(),
            started_at: moment(self.key),
            status: self.status,
            experiment_type: self.kind.clone(),
            command: self.command.clone(),
            duration: self.wall().map(|us| Duration::from_micros(us.unsigned_abs())),
            peak_memory: self.exit.as_ref().and_then(|exit| exit.peak_memory),
            dollars: self.nanodollars() as f64 / NANO,
            log: self.log_id(),
            analysis: self.diagnosis.as_ref().map(|d| Analysis {
                category: d.failure_category,
                root_cause: d.root_cause.clone(),
                fix_suggestion: d.fix_suggestion.clone(),
                severity: d.severity,
                origin: d.origin,
                confidence: if d.confidence.is_finite() { d.confidence } else { 0.0 },
                signature: d.signature.clone(),
                retryable: d.retryable,
                rule: d.provenance.rule.clone(),
            }),
        }
    }

    pub(super) fn experiment(&self) -> Experiment {
        let log = self.log.as_ref().zip(self.log_id());
        Experiment {
            listed: self.listed(),
            cwd: self.cwd.clone(),
            owner: self.owner.clone(),
            exit: self.exit.clone(),
            reason: self.reason.clone(),
            log: log.map(|(log, id)| LogFacts { id, bytes: log.bytes, stored_bytes: log.stored }),
            log_note: self.log_note.clone(),
            diagnosis: self.diagnosis.clone(),
        }
    }

    pub(super) fn running(&self) -> Option<Running> {
        Some(Running {
            id: self.id(),
            experiment_type: self.kind.clone(),
            command: self.command.clone(),
            owner: self.owner.clone()?,
            started_at: moment(self.key),
            log_is_open: None,
        })
    }

    /// As the loop reads it; parents as they were written down.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        let it = self.tested.as_ref()?;
        let id = |named: &Named| ExperimentId::new(named.0.clone(), named.1, named.2);
        Some(Candidate {
            id: self.id(),
            number: self.number,
            run: RunId(it.run),
            status: self.status,
            started_at: moment(self.key),
            generation: it.generation,
            parents: it.parents.iter().map(id).collect(),
            repair_of: it.repair_of.as_ref().map(id),
            proposer: it.proposer.clone(),
            change: it.change.clone(),
            feedback: it.feedback,
            proposal_cost: Cost {
                dollars: it.nanodollars as f64 / NANO,
                input_tokens: it.input_tokens,
                output_tokens: it.output_tokens,
            },
            code_hash: it.hash.clone(),
            tries: it.tries,
            replaced: !it.newest,
            rerun: it.rerun,
            metrics: it.metrics.clone(),
            score: it.score,
            failure: self.diagnosis.as_ref().map(|d| CandidateFailure {
                category: d.failure_category,
                severity: d.severity,
                origin: d.origin,
                signature: d.signature.clone(),
                root_cause: d.root_cause.clone(),
            }),
        })
    }
}
