//! Copies one store into another, whatever keeps them: what is there already stays, so that a copy that was broken off goes on
//! where it was when it is said again. Ids, numbers and times are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::logs::{Kept, Log, LogData};
use crate::record::{Decided, Named, Row};
use crate::store::blocking;
use crate::{
    Correction, Error, LogFacts, LogId, ObjectTrouble, Run, Silenced, Status, Store, Token, TokenHash, User,
};

/// So many experiments at once.
const STEP: usize = if cfg!(test) { 5 } else { 100 };
/// So many of what is in the way are named.
const NAMED: usize = 5;

/// An experiment with what belongs to it, apart from its log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whole {
    pub(crate) row: Row,
    /// Of a candidate, or as it was reported.
    pub(crate) code: Option<Vec<u8>>,
    pub(crate) votes: Vec<Vote>,
    /// Channels that have counted it.
    pub(crate) told: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vote {
    pub(crate) by: String,
    pub(crate) helpful: bool,
    /// Milliseconds.
    pub(crate) at: i64,
}

/// A cause, and what people decided about its group. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CauseRecord {
    pub(crate) signature: String,
    pub(crate) first: i64,
    pub(crate) words: String,
    pub(crate) decided: Decided,
    pub(crate) group_first: i64,
    /// Key and number of the last that was ever seen.
    pub(crate) last: i64,
    pub(crate) last_number: u64,
}

/// Somebody who may look, with what their word is held against. Not shown to anybody.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: User,
    pub(crate) password: String,
    pub(crate) totp: Option<Vec<u8>>,
}

/// What was spent on a day.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spending {
    pub(crate) day: String,
    pub(crate) calls: u64,
    pub(crate) nanodollars: i64,
}

/// Everything but experiments.
#[derive(Default)]
pub(crate) struct Rest {
    /// The largest number that an experiment was ever given.
    pub(crate) numbers: u64,
    /// In the order in which they were first kept.
    pub(crate) causes: Vec<CauseRecord>,
    pub(crate) runs: Vec<Run>,
    pub(crate) corrections: Vec<Correction>,
    pub(crate) people: Vec<Person>,
    pub(crate) tokens: Vec<(Token, TokenHash)>,
    pub(crate) silenced: Vec<Silenced>,
    pub(crate) spending: Vec<Spending>,
    /// What alerts remember, if anybody wants them.
    pub(crate) alerts: Option<String>,
}

/// An experiment by its names, in the order of its beginning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Name {
    pub(crate) key: i64,
    pub(crate) named: Named,
    pub(crate) status: Status,
}

/// What a store that can be copied has to do.
#[async_trait]
pub(crate) trait CopyBackend: Send + Sync {
    async fn rest(&self) -> Result<Rest, Error>;
    /// Takes what is not there.
    async fn take_rest(&self, rest: Arc<Rest>) -> Result<(), Error>;
    /// Experiments behind this key, in the order in which they began.
    async fn names_behind(&self, key: i64, limit: usize) -> Result<Vec<Name>, Error>;
    async fn wholes(&self, numbers: Vec<u64>) -> Result<Vec<Whole>, Error>;
    /// The experiments that have one of these numbers, or one of these names and attempts.
    async fn known(&self, of: Vec<Named>) -> Result<Vec<Named>, Error>;
    /// Takes those that are not there; their causes are. Says how many. What is noted of a log is its log's.
    async fn take(&self, all: Vec<(Whole, Log)>) -> Result<u64, Error>;
    /// Which of these experiments have a log.
    async fn with_log(&self, numbers: Vec<u64>) -> Result<BTreeSet<u64>, Error>;
    /// Gives an experiment that is there the log that it did not get; false if it has one by now, or still can't.
    async fn take_log(&self, row: Row, log: Log) -> Result<bool, Error>;
    /// Everything has been taken.
    async fn settle_copy(&self, rest: Arc<Rest>) -> Result<(), Error>;
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// What is being done.
    pub step: CopyStep,
    /// Experiments that were gone through.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    /// Is anything of the target in the way?
    Comparing,
    /// Reading and writing.
    Copying,
    /// Is everything there?
    Counting,
}

/// How many there are in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Both {
    /// In the one that was read.
    pub from: u64,
    /// In the one that was written, of those.
    pub to: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Experiments that were written now.
    pub copied: u64,
    /// That were there already, and stayed as they were.
    pub known: u64,
    /// Logs of those, which were not to be had before.
    pub logs_later: u64,
    /// That run, and are not copied.
    pub running: u64,
    /// Logs that are nowhere to be had, with the reason of the first.
    pub logs_missing: u64,
    /// The reason of the first.
    pub why_missing: Option<String>,
    /// Experiments that have ended, counted in both when it was done.
    pub experiments: Both,
    /// Those of them that have a log.
    pub logs: Both,
    /// Causes of failures.
    pub causes: Both,
    /// Corrections, those that were taken back too.
    pub corrections: Both,
    /// Runs of the lab.
    pub runs: Both,
    /// People who may look.
    pub users: Both,
    /// Tokens of programs.
    pub tokens: Both,
    /// Rules that are switched off.
    pub silenced: Both,
}

impl Copied {
    /// Each count with what it is of.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, Both); 8] {
        [
            ("experiments", self.experiments),
            ("logs", self.logs),
            ("causes", self.causes),
            ("corrections", self.corrections),
            ("runs", self.runs),
            ("users", self.users),
            ("tokens", self.tokens),
            ("rules off", self.silenced),
        ]
    }

    /// Is everything of the one in the other?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.running == 0 && self.logs_missing == 0 && self.counts().iter().all(|(_, it)| it.from == it.to)
    }
}

impl Store {
    /// Copies everything of this store that another does not have. Not sessions, live events, kept replies of models, messages
    /// of alerts and what they have not looked at yet, nor what still runs. Of this store nothing is changed.
    pub async fn copy_into(
        &self,
        to: &Self,
        progress: &(dyn Fn(CopyProgress) + Sync),
    ) -> Result<Copied, Error> {
        let (from, into) = (self.copying()?, to.copying()?);
        let rest = Arc::new(from.rest().await?);
        let of = self.backend.totals().await?.total;
        let mut in_the_way = clashes(&rest, &into.rest().await?);
        if !into.names_behind(-1, 1).await?.is_empty() {
            let (mut pages, mut done) = (Pages::of(from), 0);
            while let Some(page) = pages.next().await? {
                done += page.len() as u64;
                let names: BTreeSet<_> = page.into_iter().map(|it| it.named).collect();
                let known = into.known(names.iter().cloned().collect()).await?;
                in_the_way.extend(known.into_iter().filter(|it| !names.contains(it)).map(experiment));
                progress(CopyProgress { step: CopyStep::Comparing, done, of: of.max(done) });
            }
        }
        if !in_the_way.is_empty() {
            let more = in_the_way.len().saturating_sub(NAMED);
            in_the_way.truncate(NAMED);
            return Err(Error::Taken { what: in_the_way.join(", "), more });
        }

        into.take_rest(Arc::clone(&rest)).await?;
        let mut copied = Copied::default();
        let (mut pages, mut done) = (Pages::of(from), 0);
        while let Some(mut page) = pages.next().await? {
            done += page.len() as u64;
            let all = page.len();
            page.retain(|it| it.status != Status::Running);
            copied.running += (all - page.len()) as u64;
            let names: Vec<_> = page.iter().map(|it| it.named.clone()).collect();
            let known: BTreeSet<_> = into.known(names.clone()).await?.into_iter().collect();
            copied.known += known.len() as u64;
            let (there, new): (Vec<_>, Vec<_>) = names.iter().partition(|it| known.contains(it));
            self.logs_later(to, numbers(there), &mut copied).await?;
            let mut wanted = Vec::new();
            let numbers = numbers(new);
            for mut whole in from.wholes(numbers).await? {
                let log = self.log_for(to, &mut whole.row, &mut copied).await?;
                wanted.push((whole, log));
            }
            let logs: Vec<_> = wanted.iter().map(|(_, log)| log.clone()).collect();
            let wrote = into.take(wanted).await;
            logs.iter().for_each(Log::settle);
            copied.copied += wrote?;
            progress(CopyProgress { step: CopyStep::Copying, done, of: of.max(done) });
        }
        into.settle_copy(Arc::clone(&rest)).await?;

        // not what was written, but what is there
        let (mut pages, mut done) = (Pages::of(from), 0);
        while let Some(mut page) = pages.next().await? {
            done += page.len() as u64;
            page.retain(|it| it.status != Status::Running);
            let names: BTreeSet<_> = page.into_iter().map(|it| it.named).collect();
            let known = into.known(names.iter().cloned().collect()).await?;
            copied.experiments.from += names.len() as u64;
            copied.experiments.to += known.iter().filter(|it| names.contains(it)).count() as u64;
            let with_log = from.with_log(numbers(&names)).await?;
            copied.logs.from += with_log.len() as u64;
            copied.logs.to += into.with_log(with_log.into_iter().collect()).await?.len() as u64;
            progress(CopyProgress { step: CopyStep::Counting, done, of: of.max(done) });
        }
        copied.compare(&from.rest().await?, &into.rest().await?);
        Ok(copied)
    }

    fn copying(&self) -> Result<&dyn CopyBackend, Error> {
        self.backend.copying().ok_or(Error::Closed)
    }

    /// What was copied without its log, and has one here, gets it now.
    async fn logs_later(&self, to: &Self, there: Vec<u64>, copied: &mut Copied) -> Result<(), Error> {
        let (from, into) = (self.copying()?, to.copying()?);
        let with_log = from.with_log(there).await?;
        let have = into.with_log(with_log.iter().copied().collect()).await?;
        for mut whole in from.wholes(with_log.difference(&have).copied().collect()).await? {
            let log = self.log_for(to, &mut whole.row, copied).await?;
            if whole.row.log.is_some() {
                let given = into.take_log(whole.row, log.clone()).await;
                log.settle();
                copied.logs_later += u64::from(given?);
            }
        }
        Ok(())
    }

    /// The log of an experiment on its way into another store, with what is noted of it. One that is nowhere to be had is noted.
    async fn log_for(&self, to: &Self, row: &mut Row, copied: &mut Copied) -> Result<Log, Error> {
        let note = row.log_note.clone();
        let Some((id, log)) = row.log.clone().and_then(|log| Some((LogId::parse(&log.id)?, log))) else {
            return Ok(Log::copied(None, note, None));
        };
        let facts = LogFacts { id, bytes: log.bytes, stored_bytes: log.stored };
        let gone = match self.backend.log(id).await {
            Ok(stored) => match stored.data {
                LogData::Inline(bytes) => {
                    return Ok(Log::copied(Some(Kept { facts, data: LogData::Inline(bytes) }), note, None));
                }
                LogData::File(file) => {
                    let (folder, source) = (to.folder.clone(), file.clone());
                    let whole = move || {
                        let found = std::fs::metadata(&source)?.len();
                        if found != facts.stored_bytes {
                            let why =
                                format!("it has {found} bytes, and {} were written", facts.stored_bytes);
                            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
                        }
                        folder.copied_here(&source)
                    };
                    match blocking(whole).await {
                        Ok(copy) => {
                            let kept = Kept { facts, data: LogData::File(copy.clone()) };
                            return Ok(Log::copied(Some(kept), note, Some(copy)));
                        }
                        Err(e)
                            if matches!(
                                e.kind(),
                                std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData
                            ) =>
                        {
                            Error::log_file(&file, e)
                        }
                        Err(e) => return Err(Error::log_file(&file, e)),
                    }
                }
            },
            Err(e @ (Error::NoLog { .. } | Error::LogElsewhere { .. })) => e,
            Err(e @ Error::Object { trouble: ObjectTrouble::Gone | ObjectTrouble::Damaged, .. }) => e,
            Err(e) => return Err(e),
        };
        copied.logs_missing += 1;
        copied.why_missing.get_or_insert_with(|| gone.to_string());
        row.log = None;
        let without = format!("the log could not be copied ({gone})");
        Ok(Log::copied(None, Some(note.map_or(without.clone(), |note| format!("{note}; {without}"))), None))
    }
}

/// All experiments of a store, in the order in which they began.
struct Pages<'a> {
    of: &'a dyn CopyBackend,
    behind: i64,
}

impl<'a> Pages<'a> {
    fn of(of: &'a dyn CopyBackend) -> Self {
        Self { of, behind: -1 }
    }

    async fn next(&mut self) -> Result<Option<Vec<Name>>, Error> {
        let page = self.of.names_behind(self.behind, STEP).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.behind = last.key;
        Ok(Some(page))
    }
}

fn numbers<'a>(of: impl IntoIterator<Item = &'a Named>) -> Vec<u64> {
    of.into_iter().map(|it| it.2).collect()
}

fn experiment((name, attempt, number): Named) -> String {
    format!("experiment {number} (`{name}`, attempt {attempt})")
}

/// What the target has under the same names as something else. Causes, users and rules are the same by their names.
fn clashes(from: &Rest, there: &Rest) -> Vec<String> {
    let mut found = Vec::new();
    for run in &from.runs {
        if there
            .runs
            .iter()
            .any(|it| it.id == run.id && (it.started_at, &it.task) != (run.started_at, &run.task))
        {
            found.push(format!("run {}", run.id));
        }
    }
    for word in &from.corrections {
        if there
            .corrections
            .iter()
            .any(|it| it.id == word.id && (it.at, &it.signature) != (word.at, &word.signature))
        {
            found.push(format!("correction {}", word.id));
        }
    }
    for (token, hash) in &from.tokens {
        let same = |it: &Token| it.id == token.id || it.name == token.name;
        if there.tokens.iter().any(|(it, other)| same(it) && other != hash) {
            found.push(format!("token `{}`", token.name));
        }
    }
    found
}

impl Copied {
    fn compare(&mut self, from: &Rest, to: &Rest) {
        fn both<T: Ord>(from: impl Iterator<Item = T>, to: impl Iterator<Item = T>) -> Both {
            let (from, to): (BTreeSet<T>, BTreeSet<T>) = (from.collect(), to.collect());
            Both { from: from.len() as u64, to: from.intersection(&to).count() as u64 }
        }
        self.causes =
            both(from.causes.iter().map(|it| &it.signature), to.causes.iter().map(|it| &it.signature));
        self.corrections =
            both(from.corrections.iter().map(|it| it.id), to.corrections.iter().map(|it| it.id));
        self.runs = both(from.runs.iter().map(|it| it.id), to.runs.iter().map(|it| it.id));
        self.users =
            both(from.people.iter().map(|it| &it.user.name), to.people.iter().map(|it| &it.user.name));
        self.tokens = both(from.tokens.iter().map(|it| it.1), to.tokens.iter().map(|it| it.1));
        self.silenced = both(from.silenced.iter().map(|it| &it.rule), to.silenced.iter().map(|it| &it.rule));
    }
}
