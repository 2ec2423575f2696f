//! A run that is reported to a desk elsewhere instead of being kept in a store here. It is in the spool from its start to the
//! moment when the desk has taken its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coroner_diagnosis::{Capture, Counts, Exit, Redactor};
use coroner_server::reporter::{
    Became, Begun, Delivered, Desk, Ended, Entry, Fate, Live, Spool, Taken, deliver, deliver_waiting,
};
use coroner_store::{CommandLine, ExperimentId, Log, LogWriter, Owner};
use jiff::Timestamp;

use crate::args::RunArgs;
use crate::context::{Context, Failed, complain};
use crate::quantities::counted;
use crate::report;

/// Nobody who pressed Ctrl-C waits long.
const INTERRUPTED: Duration = Duration::from_secs(1);

/// A run on its way to a desk.
pub(super) struct Reported {
    desk: Arc<Desk>,
    spool: Spool,
    wait: Duration,
    work: Mutex<Work>,
}

struct Work {
    entry: Option<Entry>,
    live: Option<Live>,
    /// Delivers what earlier runs could not.
    older: Option<JoinHandle<Delivered>>,
}

impl Reported {
    /// Writes the entry, durably, and begins to tell the desk. Only a wrong address or id is an error; without a spool there is
    /// no report, and a word about it.
    pub(super) fn begin(
        args: &RunArgs,
        context: &Context,
        desk: Desk,
        command: CommandLine,
    ) -> Result<Option<Self>, Failed> {
        let experiment_id = ExperimentId::name_for(args.id.clone())?;
        let begun = Begun {
            key: ExperimentId::name_for(None)?,
            desk: desk.url().to_owned(),
            experiment_id,
            experiment_type: args.kind.clone().unwrap_or_default(),
            command,
            cwd: std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            owner: Owner::this_process(),
            started_at: Timestamp::now(),
        };
        let (spool, desk) = (report::spool(context), Arc::new(desk));
        let entry = match spool.begin(begun) {
            Ok(entry) => entry,
            Err(error) => {
                complain(&format!("this run is not reported: {error}"));
                return Ok(None);
            }
        };
        // without a thread it is told at its end
        let live = Live::begin(&desk, &entry).ok();
        let older = {
            let (spool, desk) = (spool.clone(), Arc::clone(&desk));
            let builder = std::thread::Builder::new().name("reports".into());
            builder.spawn(move || deliver_waiting(&spool, &desk, false)).ok()
        };
        let work = Mutex::new(Work { entry: Some(entry), live, older });
        Ok(Some(Self { desk, spool, wait: context.config.report_wait, work }))
    }

    /// Its id, as it was given or made.
    pub(super) fn id(&self) -> Option<String> {
        self.work().entry.as_ref().map(|entry| entry.begun().experiment_id.clone())
    }

    pub(super) fn log(&self) -> Option<LogWriter> {
        self.work().entry.as_ref().map(|entry| LogWriter::to_file(entry.log_file()))
    }

    /// What was printed, read as the rules want it.
    pub(super) fn read_log(&self) -> std::io::Result<coroner_diagnosis::Log> {
        let from = self.work().entry.as_ref().map(Entry::read_log);
        let mut from = from.unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into()))?;
        let mut reader = coroner_diagnosis::LogReader::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match std::io::Read::read(&mut from, &mut buffer)? {
                0 => return Ok(reader.finish()),
                n => reader.push(&buffer[..n]),
            }
        }
    }

    /// The page of an experiment at the desk.
    pub(super) fn page(&self, id: &str) -> String {
        self.desk.page(id)
    }

    /// It has ended: that is on disk when this returns. `failed` is what is known of a failure.
    pub(super) fn close(
        &self,
        passed: bool,
        (exit, reason, error): (Option<Exit>, Option<String>, Option<String>),
        log: Option<&Log>,
        failed: Option<&Capture>,
        context: &Context,
    ) {
        let code = failed
            .and_then(|capture| capture.code.as_ref())
            .map(|code| Redactor::new(context.env.secrets()).redact(&code.text, &mut Counts::default()));
        let ended = Ended {
            at: Timestamp::now(),
            became: if passed { Became::Passed } else { Became::Failed },
            exit,
            sandbox: failed.and_then(|capture| capture.sandbox.clone()),
            error,
            reason,
            code,
            log: None,
        };
        if let Some(entry) = &mut self.work().entry
            && let Err(error) = entry.end(ended, log)
        {
            let folder = self.spool.folder().display();
            complain(&format!("the end of this run can't be written to the spool {folder}: {error}"));
        }
    }

    /// Has the desk take it, if that can be done in a short time; what it says of it.
    pub(super) fn deliver(&self, interrupted: bool, context: &Context) -> Option<Taken> {
        let wait = if interrupted { self.wait.min(INTERRUPTED) } else { self.wait };
        let deadline = Instant::now() + wait;
        let (entry, live, older) = {
            let mut work = self.work();
            (work.entry.take()?, work.live.take(), work.older.take())
        };
        let started = live.and_then(|live| live.end(deadline));
        let taken = match deliver(entry, &self.desk, started, Some(deadline)) {
            Fate::Taken(taken) => Some(*taken),
            Fate::Aside(why) => {
                complain(&format!("this run is not reported: {why}"));
                None
            }
            Fate::Waits(entry, why) => {
                match entry.stay() {
                    None => complain(&report::later(&why, &self.spool)),
                    Some(given_up) => complain(&format!("this run is not reported now: {why}; {given_up}")),
                }
                None
            }
        };
        if let (Some(older), Some(_)) = (older, &taken) {
            while !older.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if older.is_finished()
                && let Ok(done) = older.join()
            {
                report::say(&done, context);
                if done.taken > 0 {
                    let was = counted(done.taken, "earlier report was", "earlier reports were");
                    context.note(&format!("{was} delivered"));
                }
            }
        }
        taken
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
