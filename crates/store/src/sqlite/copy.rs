//! Everything that the database knows, for a copy of it elsewhere; and what was copied from elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::diagnoses::{keep_diagnosis, signature_of};
use super::experiments::{Searched, index, memory, micros, moment, to_json};
use super::kept_logs::keep_log;
use super::text::Words;
use super::{Sqlite, Trouble, candidates, corrections, lookup, people, runs};
use crate::copy::{CauseRecord, CopyBackend, Name, Rest, Spending, Vote, Whole};
use crate::logs::{Log, LogFolder};
use crate::record::{Decided, InForce, LogRef, Named, Over, Row, Split, Tested};
use crate::{Error, ExperimentId, GroupState, Status, Token, TokenHash};

#[async_trait]
impl CopyBackend for Sqlite {
    async fn rest(&self) -> Result<Rest, Error> {
        self.read(rest).await
    }

    async fn take_rest(&self, rest: Arc<Rest>) -> Result<(), Error> {
        self.write(move |conn| take_rest(conn, &rest)).await
    }

    async fn names_behind(&self, key: i64, limit: usize) -> Result<Vec<Name>, Error> {
        self.read(move |conn| names_behind(conn, key, limit)).await
    }

    async fn wholes(&self, numbers: Vec<u64>) -> Result<Vec<Whole>, Error> {
        self.read(move |conn| numbers.iter().map(|number| whole(conn, *number)).collect()).await
    }

    async fn known(&self, of: Vec<Named>) -> Result<Vec<Named>, Error> {
        self.read(move |conn| known(conn, &of)).await
    }

    async fn take(&self, all: Vec<(Whole, Log)>) -> Result<u64, Error> {
        let folder = self.folder.clone();
        let take_all = move |conn: &Connection| {
            let mut taken = 0;
            for (it, log) in &all {
                taken += u64::from(take(conn, &folder, it, log)?);
            }
            Ok(taken)
        };
        self.write(take_all).await
    }

    async fn with_log(&self, numbers: Vec<u64>) -> Result<BTreeSet<u64>, Error> {
        self.read(move |conn| {
            let sql = "SELECT log IS NOT NULL FROM experiments WHERE number = ?1";
            let mut found = BTreeSet::new();
            for number in numbers {
                let has: Option<bool> =
                    conn.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()?;
                found.extend(has.filter(|has| *has).map(|_| number));
            }
            Ok(found)
        })
        .await
    }

    async fn take_log(&self, row: Row, log: Log) -> Result<bool, Error> {
        let folder = self.folder.clone();
        self.write(move |conn| take_log(conn, &folder, &row, &log)).await
    }

    async fn settle_copy(&self, _: Arc<Rest>) -> Result<(), Error> {
        // triggers have kept everything in its place
        Ok(())
    }
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Trouble> {
    Ok(conn.prepare(sql)?.query_map([], each)?.collect::<Result<_, _>>()?)
}

fn rest(conn: &Connection) -> Result<Rest, Trouble> {
    let mut causes = all(
        conn,
        "SELECT s.signature, s.first_seen, s.words, l.signature, g.state, g.muted_until, g.assignee, g.decided_by,
           g.decided_at, g.reopened_at, g.first_seen, g.last_key, ifnull(e.number, 0), s.id
         FROM signatures s JOIN groups g ON g.id = s.id LEFT JOIN signatures l ON l.id = g.lead
           LEFT JOIN experiments e ON e.key = g.last_key
         WHERE s.id > 0 ORDER BY s.id",
        |row| {
            let decided = Decided {
                lead: row.get(3)?,
                state: row.get::<_, String>(4)?.parse().unwrap_or(GroupState::Open),
                muted_until: row.get(5)?,
                assignee: row.get(6)?,
                by: row.get(7)?,
                at: row.get(8)?,
                reopened: row.get(9)?,
                ..Decided::default()
            };
            let record = CauseRecord {
                signature: row.get(0)?,
                first: row.get(1)?,
                words: row.get(2)?,
                decided,
                group_first: row.get(10)?,
                last: row.get(11)?,
                last_number: row.get(12)?,
            };
            Ok((row.get::<_, i64>(13)?, record))
        },
    )?;
    for (id, cause) in &mut causes {
        let sql = "SELECT words, part, by, at FROM splits WHERE signature = ?1 ORDER BY at, words";
        let mut statement = conn.prepare_cached(sql)?;
        let splits = statement.query_map([*id], |row| {
            Ok(Split { words: row.get(0)?, part: row.get(1)?, by: row.get(2)?, at: row.get(3)? })
        })?;
        cause.decided.splits = splits.collect::<Result<_, _>>()?;
        let word = corrections::in_force(conn, *id)?;
        cause.decided.in_force = word.map(|it| InForce { id: it.id, ruling: it.ruling });
    }
    let numbers = conn
        .prepare_cached("SELECT value FROM counters WHERE name = 'number'")?
        .query_row([], |row| row.get(0))?;
    let mut found_runs = runs::list(conn, None, usize::MAX >> 1)?;
    found_runs.reverse();
    let alerts = conn
        .prepare_cached("SELECT memory FROM alert_memory WHERE id = 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(Rest {
        numbers,
        causes: causes.into_iter().map(|(_, cause)| cause).collect(),
        runs: found_runs,
        corrections: corrections::whole(conn)?,
        people: people::whole(conn)?,
        tokens: people::hashed_tokens(conn)?,
        silenced: people::silenced(conn)?,
        spending: all(
            conn,
            "SELECT day, calls, nanodollars FROM spending WHERE day > '' ORDER BY day",
            |row| Ok(Spending { day: row.get(0)?, calls: row.get(1)?, nanodollars: row.get(2)? }),
        )?,
        alerts,
    })
}

fn take_rest(conn: &Connection, rest: &Rest) -> Result<(), Trouble> {
    let sql = "UPDATE counters SET value = max(value, ?1) WHERE name = 'number'";
    conn.prepare_cached(sql)?.execute([rest.numbers])?;
    let mut new = Vec::new();
    for cause in &rest.causes {
        new.extend(take_cause(conn, cause)?.map(|id| (id, cause)));
    }
    let id_of = |signature: &str| {
        let sql = "SELECT id FROM signatures WHERE signature = ?1";
        conn.prepare_cached(sql)?.query_row([signature], |row| row.get::<_, i64>(0)).optional()
    };
    for (id, cause) in new {
        if let Some(lead) = &cause.decided.lead {
            let sql = "UPDATE groups SET lead = ?2 WHERE id = ?1";
            conn.prepare_cached(sql)?.execute(params![id, id_of(lead)?])?;
        }
    }
    for it in &rest.corrections {
        let Some(signature) = id_of(&it.signature)? else { continue };
        let ruling = &it.ruling;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO corrections (id, signature, category, severity, origin, cause, fix, by, at, undone_by,
               undone_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            it.id,
            signature,
            ruling.category.map(|word| word.as_str()),
            ruling.severity.map(|word| word.as_str()),
            ruling.origin.map(|word| word.as_str()),
            ruling.cause,
            ruling.fix,
            it.by,
            it.at.as_millisecond(),
            it.undone_by,
            it.undone_at.map(|at| at.as_millisecond()),
        ])?;
    }
    for run in &rest.runs {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO runs (id, task, settings, seed, owner, started_at, state, ended_at, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            runs::number(run.id),
            run.task,
            to_json(&run.settings),
            run.seed.cast_signed(),
            to_json(&run.owner),
            run.started_at.as_millisecond(),
            run.state.as_str(),
            run.ended_at.map(|at| at.as_millisecond()),
            run.reason,
        ])?;
    }
    for person in &rest.people {
        let user = &person.user;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO users (name, role, password, totp, created_at, disabled_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            user.name,
            user.role.as_str(),
            person.password,
            person.totp,
            user.created_at.as_millisecond(),
            user.disabled_at.map(|at| at.as_millisecond()),
        ])?;
    }
    for (token, hash) in &rest.tokens {
        take_token(conn, token, hash)?;
    }
    for it in &rest.silenced {
        conn.prepare_cached("INSERT OR IGNORE INTO silenced (rule, by, at) VALUES (?1, ?2, ?3)")?
            .execute(params![it.rule, it.by, it.at.as_millisecond()])?;
    }
    for it in &rest.spending {
        conn.prepare_cached("INSERT OR IGNORE INTO spending (day, calls, nanodollars) VALUES (?1, ?2, ?3)")?
            .execute(params![it.day, it.calls, it.nanodollars])?;
    }
    if let Some(memory) = &rest.alerts {
        conn.prepare_cached("INSERT INTO alert_memory VALUES (1, 0, ?1) ON CONFLICT DO NOTHING")?
            .execute([memory])?;
    }
    Ok(())
}

/// Its number, if it was not there.
fn take_cause(conn: &Connection, it: &CauseRecord) -> Result<Option<i64>, Trouble> {
    let sql = "INSERT OR IGNORE INTO signatures (signature, words, first_seen) VALUES (?1, ?2, ?3)";
    if conn.prepare_cached(sql)?.execute(params![it.signature, it.words, it.first])? == 0 {
        return Ok(None);
    }
    let id = conn.last_insert_rowid();
    for word in it.words.split_whitespace() {
        let sql = "INSERT INTO cause_words VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1";
        conn.prepare_cached(sql)?.execute([word])?;
    }
    conn.prepare_cached("INSERT INTO causes (rowid, words) VALUES (?1, ?2)")?
        .execute(params![id, it.words])?;
    let decided = &it.decided;
    conn.prepare_cached(
        "INSERT INTO groups (id, state, first_seen, last_key, muted_until, assignee, decided_by, decided_at, reopened_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        id,
        decided.state.as_str(),
        it.group_first,
        it.last,
        decided.muted_until,
        decided.assignee,
        decided.by,
        decided.at,
        decided.reopened,
    ])?;
    for split in &decided.splits {
        conn.prepare_cached(
            "INSERT INTO splits (signature, words, part, by, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, split.words, split.part, split.by, split.at])?;
    }
    Ok(Some(id))
}

fn take_token(conn: &Connection, token: &Token, hash: &TokenHash) -> Result<(), Trouble> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO tokens (id, name, hash, scope, created_by, created_at, last_used, revoked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        token.id,
        token.name,
        hash,
        token.scope.as_str(),
        token.created_by,
        token.created_at.as_millisecond(),
        token.last_used.map(|at| at.as_millisecond()),
        token.revoked_at.map(|at| at.as_millisecond()),
    ])?;
    Ok(())
}

fn names_behind(conn: &Connection, key: i64, limit: usize) -> Result<Vec<Name>, Trouble> {
    let sql =
        "SELECT key, number, name, attempt, status FROM experiments WHERE key > ?1 ORDER BY key LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![key, limit], |row| {
        Ok(Name {
            key: row.get(0)?,
            named: (row.get(2)?, row.get(3)?, row.get(1)?),
            status: row.get::<_, String>(4)?.parse().unwrap_or(Status::Lost),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn known(conn: &Connection, of: &[Named]) -> Result<Vec<Named>, Trouble> {
    let mut found = std::collections::BTreeSet::new();
    for (name, attempt, number) in of {
        let sql = "SELECT name, attempt, number FROM experiments WHERE number = ?1
                   UNION SELECT name, attempt, number FROM experiments WHERE name = ?2 AND attempt = ?3";
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement
            .query_map(params![number, name, attempt], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        found.extend(rows.collect::<Result<Vec<Named>, _>>()?);
    }
    Ok(found.into_iter().collect())
}

fn whole(conn: &Connection, number: u64) -> Result<Whole, Trouble> {
    let (key, ended_at): (i64, Option<i64>) = conn
        .prepare_cached("SELECT key, ended_at FROM experiments WHERE number = ?1")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let it = lookup::whole(conn, key)?;
    let id = it.listed.id.clone();
    let over: Option<(i64, String)> = conn
        .prepare_cached("SELECT correction, record FROM overruled WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let over = over.map(|(correction, record)| {
        let diagnosis = serde_json::from_str(&record).map_err(|e| Error::record(&id, e))?;
        Ok::<_, Error>(Over { correction, diagnosis })
    });
    let code = match candidates::code(conn, &id) {
        Ok(code) => Some(code),
        Err(Trouble::Told(Error::NotACandidate { .. })) => None,
        Err(e) => return Err(e),
    };
    let mut votes = conn.prepare_cached("SELECT by, helpful, at FROM votes WHERE key = ?1 ORDER BY by")?;
    let votes =
        votes.query_map([key], |row| Ok(Vote { by: row.get(0)?, helpful: row.get(1)?, at: row.get(2)? }))?;
    let mut told =
        conn.prepare_cached("SELECT channel FROM alert_counted WHERE number = ?1 ORDER BY channel")?;
    let told = told.query_map([number], |row| row.get(0))?;
    let row = Row {
        number,
        name: id.name().to_owned(),
        attempt: id.attempt(),
        key,
        kind: it.listed.experiment_type,
        command: it.listed.command,
        cwd: it.cwd,
        owner: it.owner,
        status: it.listed.status,
        ended_at,
        exit: it.exit,
        reason: it.reason,
        log: it.log.map(|log| LogRef { id: log.id.to_string(), bytes: log.bytes, stored: log.stored_bytes }),
        log_note: it.log_note,
        diagnosis: it.diagnosis,
        tested: tested(conn, key, &id)?,
        over: over.transpose()?,
        is_given: false,
    };
    Ok(Whole { row, code, votes: votes.collect::<Result<_, _>>()?, told: told.collect::<Result<_, _>>()? })
}

fn tested(conn: &Connection, key: i64, id: &ExperimentId) -> Result<Option<Tested>, Trouble> {
    let Some(record) = candidates::record(conn, id)? else { return Ok(None) };
    let it = record.candidate;
    let named = |id: ExperimentId| (id.name().to_owned(), id.attempt(), id.number());
    let mut rules = conn.prepare_cached("SELECT rule FROM refusals WHERE key = ?1 ORDER BY rule")?;
    let refused_by = rules.query_map([key], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Some(Tested {
        run: it.run.number(),
        hash: it.code_hash,
        code_bytes: record.code_bytes,
        tries: it.tries,
        newest: !it.replaced,
        rerun: it.rerun,
        generation: it.generation,
        parents: it.parents.into_iter().map(named).collect(),
        repair_of: it.repair_of.map(named),
        proposer: it.proposer,
        change: it.change,
        feedback: it.feedback,
        nanodollars: candidates::nanodollars(it.proposal_cost.dollars),
        input_tokens: it.proposal_cost.input_tokens,
        output_tokens: it.proposal_cost.output_tokens,
        metrics: it.metrics,
        score: it.score,
        result: record.result,
        refused_by,
    }))
}

/// False if it has one.
fn take_log(conn: &Connection, folder: &LogFolder, row: &Row, log: &Log) -> Result<bool, Trouble> {
    let without: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM experiments WHERE number = ?1 AND log IS NULL)")?
        .query_row([row.number], |row| row.get(0))?;
    if !without {
        return Ok(false);
    }
    let ended = row.ended_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let (log, log_note) = keep_log(conn, folder, Some(log), ended.unwrap_or(moment(row.key)))?;
    conn.prepare_cached("UPDATE experiments SET log = ?2, log_note = ?3 WHERE number = ?1")?
        .execute(params![row.number, log.as_ref().map(crate::LogId::as_bytes), log_note])?;
    Ok(log.is_some())
}

/// False if it is there.
fn take(conn: &Connection, folder: &LogFolder, it: &Whole, log: &Log) -> Result<bool, Trouble> {
    let row = &it.row;
    let there: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM experiments WHERE number = ?1)")?
        .query_row([row.number], |row| row.get(0))?;
    if there {
        return Ok(false);
    }
    let at = moment(row.key);
    let ended = row.ended_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let (log, log_note) = keep_log(conn, folder, Some(log), ended.unwrap_or(at))?;
    let diagnosis = row.diagnosis.as_ref();
    let signature = diagnosis.map(|it| signature_of(conn, it, at)).transpose()?;
    let (exit, tested) = (row.exit.as_ref(), row.tested.as_ref());
    let spent = candidates::nanodollars(diagnosis.and_then(|d| d.cost_usd).unwrap_or(0.0));
    conn.prepare_cached(
        "INSERT INTO experiments (key, number, name, attempt, type, status, command, cwd, owner, ended_at, exit, wall_us,
           peak_memory, reason, log, log_note, cpu_us, category, severity, origin, signature, nanodollars, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
           ?23)",
    )?
    .execute(params![
        row.key,
        row.number,
        row.name,
        row.attempt,
        row.kind,
        row.status.as_str(),
        to_json(&row.command),
        row.cwd,
        row.owner.as_ref().map(to_json),
        row.ended_at,
        exit.map(to_json),
        exit.map(|e| micros(e.wall)),
        exit.and_then(memory),
        row.reason,
        log.as_ref().map(crate::LogId::as_bytes),
        log_note,
        exit.and_then(|e| e.cpu).map(micros),
        diagnosis.map_or("", |d| d.failure_category.as_str()),
        diagnosis.map_or("", |d| d.severity.as_str()),
        diagnosis.map_or("", |d| d.origin.as_str()),
        signature,
        spent + tested.map_or(0, |it| it.nanodollars),
        tested.map(|it| it.run.cast_signed()),
    ])?;
    if let Some(diagnosis) = diagnosis {
        keep_diagnosis(conn, row.key, diagnosis)?;
    }
    if let Some(over) = &row.over {
        corrections::note(conn, row.key, Some((over.correction, &over.diagnosis)))?;
    }
    let command = row.command.0.join(" ");
    let searched = Searched { name: &row.name, kind: &row.kind, command: &command };
    let cause = diagnosis.map_or("", |d| &d.root_cause);
    index(conn, row.key, &searched, cause, &Words::of(row.status, diagnosis))?;
    let code = it.code.as_deref().map(candidates::pack).transpose();
    let code = code.map_err(|e| Error::Code { id: row.name.clone(), detail: e.to_string() })?;
    match (tested, &code) {
        (Some(tested), _) => {
            let none = candidates::pack(&[])
                .map_err(|e| Error::Code { id: row.name.clone(), detail: e.to_string() })?;
            candidates::take(conn, row.key, tested, code.as_ref().unwrap_or(&none))?;
        }
        (None, Some(code)) => candidates::take_source(conn, row.key, code)?,
        (None, None) => {}
    }
    for vote in &it.votes {
        conn.prepare_cached("INSERT INTO votes (key, by, helpful, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![row.key, vote.by, vote.helpful, vote.at])?;
    }
    // what was told or counted elsewhere is nothing new here
    let sql = "DELETE FROM alert_events WHERE key = ?1 AND what <> 'stopped'";
    conn.prepare_cached(sql)?.execute([row.key])?;
    for channel in &it.told {
        conn.prepare_cached("INSERT INTO alert_counted VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![row.number, channel])?;
    }
    Ok(true)
}
