//! A reported failure looked at: rules at once, so that the answer need not wait; a model afterwards, where one is asked.

use std::sync::Arc;
use std::time::Duration;

use coroner_diagnosis::{
    Capture, Code, Confined, Counts, Diagnosis, End, Exit, HarnessFault, HarnessKind, Log, LogReader,
    Redactor,
};
use coroner_store::{CommandLine, ExperimentId};

use crate::Desk;
use crate::failure::{Answer, Failure};
use crate::traces::Diagnosing;

/// Earlier failures that stand beside a diagnosis.
const SIMILAR: usize = 3;
/// A success whose log is larger is not compared with: reporting is to be quick.
const BASELINE: u64 = 4 << 20;
/// No more of an error message is kept as the reason.
const REASON: usize = 2000;

/// How a run ended, as others say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) timed_out_after: Option<f64>,
    pub(crate) oom_killed: bool,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
}

impl Ended {
    /// Refuses what no clock and no kernel would say.
    pub(crate) fn checked(self) -> Answer<Self> {
        for (name, seconds) in
            [("timed_out_after", self.timed_out_after), ("duration_seconds", self.duration_seconds)]
        {
            if seconds.is_some_and(|s| !(0.0..=1e9).contains(&s)) {
                return Err(Failure::invalid(format!("{name}: not a number of seconds")));
            }
        }
        if self.signal.is_some_and(|signal| !(1..=64).contains(&signal)) {
            return Err(Failure::invalid("signal: 1 to 64"));
        }
        Ok(self)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        let duration = Duration::from_secs_f64(self.duration_seconds.unwrap_or(0.0));
        let end = match (self.oom_killed, self.timed_out_after, self.signal, self.exit_code) {
            (true, ..) => End::OomKilled,
            (_, Some(limit), ..) => End::TimedOut { limit: Duration::from_secs_f64(limit) },
            (_, _, Some(signal), _) => End::Signaled { signal },
            (_, _, _, Some(code)) => End::Exited { code },
            _ => return None,
        };
        Some(Exit { end, wall: duration, cpu: None, peak_memory: self.peak_memory_bytes })
    }
}

/// What is known of a failure.
pub(crate) struct Autopsy {
    pub(crate) experiment_type: String,
    pub(crate) command: CommandLine,
    pub(crate) error: Option<String>,
    /// A word on its end that is no error message.
    pub(crate) word: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) exit: Option<Exit>,
    pub(crate) sandbox: Option<Confined>,
    /// What of our own side failed, if nothing can be said of the run itself.
    pub(crate) fault: Option<HarnessFault>,
    pub(crate) kept: Option<coroner_store::Log>,
    pub(crate) log: Log,
}

/// What the rules say of it.
pub(crate) struct Found {
    pub(crate) autopsy: Autopsy,
    pub(crate) diagnosis: Diagnosis,
    capture: Arc<Capture>,
}

impl Autopsy {
    /// `known`: the experiment itself, if it is kept already. It is not like itself.
    pub(crate) async fn examine(
        mut self,
        desk: &Desk,
        id: Option<String>,
        known: Option<&ExperimentId>,
    ) -> Answer<Found> {
        let baseline = match self.kept.is_some() {
            true => baseline(desk, &self.experiment_type, &self.command).await,
            false => None,
        };
        let capture = Arc::new(Capture {
            experiment_id: id,
            experiment_type: Some(self.experiment_type.clone()).filter(|kind| !kind.is_empty()),
            error_message: self.error.clone(),
            code: self.code.take().map(|text| Code { name: None, text }),
            exit: self.exit.clone(),
            sandbox: self.sandbox.take(),
            harness_failed: self.fault.take(),
            log: std::mem::take(&mut self.log),
            baselines: baseline.into_iter().collect(),
            ..Capture::default()
        });
        let span = Diagnosing::begin(desk, "diagnose");
        let seen = Arc::clone(&capture);
        let mut diagnosis = desk.judged(move |analyst| analyst.at_once(&seen)).await?;
        span.end(&diagnosis);
        let cause = coroner_store::cause_text(&diagnosis);
        // history that can't be read costs the history, not the diagnosis
        let similar = desk.store().similar(&diagnosis.signature, &cause, known, SIMILAR).await;
        diagnosis.similar = similar.unwrap_or_default().into_iter().map(Into::into).collect();
        Ok(Found { autopsy: self, diagnosis, capture })
    }
}

impl Autopsy {
    /// A word on its end, without secrets.
    pub(crate) fn reason(&self) -> Option<String> {
        let word = self.word.as_ref().or(self.error.as_ref())?;
        let short: String = word.chars().take(REASON).collect();
        Some(Redactor::default().redact(&short, &mut Counts::default()))
    }
}

impl Found {
    /// Keeps the code that it was of, without secrets. Its lines keep their numbers.
    pub(crate) async fn keep_code(&self, desk: &Desk, id: &ExperimentId) -> Answer<()> {
        let Some(code) = &self.capture.code else { return Ok(()) };
        let clear = Redactor::default().redact(&code.text, &mut Counts::default());
        Ok(desk.store().keep_source(id, clear.as_bytes()).await?)
    }

    /// Has a model asked behind the answer, if there is one and not too many wait. Gives the rules' diagnosis.
    pub(crate) fn explained_later(self, desk: &Desk, id: ExperimentId) -> Diagnosis {
        let Self { diagnosis, capture, .. } = self;
        if desk.analyst().asks()
            && let Ok(permit) = Arc::clone(desk.explain()).try_acquire_owned()
        {
            let (desk, similar) = (desk.clone(), diagnosis.similar.clone());
            let span = Diagnosing::begin(&desk, "explain");
            tokio::spawn(async move {
                let analyst = Arc::clone(desk.analyst());
                let asked = tokio::task::spawn_blocking(move || analyst.diagnose(&capture)).await;
                if let Ok(mut diagnosis) = asked {
                    span.end(&diagnosis);
                    diagnosis.similar = similar;
                    if let Err(e) = desk.store().attach_diagnosis(&id, diagnosis).await {
                        crate::guard::complain(&format!("a model's diagnosis of {id} can't be kept: {e}"));
                    }
                }
                drop(permit);
            });
        }
        diagnosis
    }
}

/// Why a run is taken for lost whose machine says nothing any more.
pub(crate) async fn of_silence(desk: &Desk, listed: &coroner_store::Listed, host: &str) -> Answer<Diagnosis> {
    let machine = if host.is_empty() { "its machine".to_owned() } else { format!("the machine `{host}`") };
    let fault = HarnessFault {
        kind: HarnessKind::WentSilent,
        what: "Nothing was heard of it any more: no heartbeat came, and no end was reported".to_owned(),
        advice: format!(
            "See whether {machine} is up and reaches the desk: what is preempted, killed with its reporter or cut off from \
             the network ends so. If it still runs, its end counts when it comes; if not, start it again"
        ),
    };
    let capture = Capture {
        experiment_id: Some(listed.id.to_string()),
        experiment_type: Some(listed.experiment_type.clone()).filter(|kind| !kind.is_empty()),
        harness_failed: Some(fault),
        ..Capture::default()
    };
    desk.judged(move |analyst| analyst.at_once(&capture)).await
}

/// What is kept of an experiment that failed, put together as it was when it failed.
pub(crate) async fn capture_again(desk: &Desk, listed: &coroner_store::Listed) -> Capture {
    let experiment = desk.store().get(&listed.id.to_string()).await.ok();
    let baseline = match listed.log {
        Some(_) => baseline(desk, &listed.experiment_type, &listed.command).await,
        None => None,
    };
    let log = match listed.log {
        Some(id) => read_small(desk, id).await,
        None => None,
    };
    let code = desk.store().candidate_code(&listed.id).await.ok();
    let (exit, error) = experiment.map_or((None, None), |it| (it.exit, it.reason));
    Capture {
        experiment_type: Some(listed.experiment_type.clone()).filter(|kind| !kind.is_empty()),
        error_message: error,
        code: code.map(|code| Code { name: None, text: String::from_utf8_lossy(&code).into_owned() }),
        exit,
        log: log.unwrap_or_default(),
        baselines: baseline.into_iter().collect(),
        ..Capture::default()
    }
}

/// What the last run of the same kind printed that succeeded.
async fn baseline(desk: &Desk, kind: &str, command: &CommandLine) -> Option<Log> {
    let id = desk.baselines().find(desk.store(), kind, command).await.ok().flatten()?;
    read_small(desk, id).await
}

async fn read_small(desk: &Desk, id: coroner_store::LogId) -> Option<Log> {
    let mut reader = desk.store().read_log(id).await.ok()?;
    if reader.remaining() > BASELINE {
        return None;
    }
    let read = move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes).ok()?;
        let mut log = LogReader::new();
        log.push(&bytes);
        Some(log.finish())
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}
