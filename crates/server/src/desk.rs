//! What every request is given: the store, who makes diagnoses, and the settings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use coroner_diagnosis::{Capture, Diagnosis, RuleSet};
use coroner_store::{Retention, Store};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::alerts::Alerts;
use crate::answers::Answers;
use crate::auth::Throttle;
use crate::auth::login::Pending;
use crate::baselines::Baselines;
use crate::failure::{Answer, Failure};
use crate::judges::Judges;
use crate::live::Live;
use crate::metrics::Figures;
use crate::page;
use crate::traces::Traces;

/// So many failures wait for a model at most; what comes beyond keeps what the rules said.
const EXPLAINED: usize = 256;

/// Who says why a run failed. Its calls may block, so they are made where that is allowed.
pub trait Analyst: Send + Sync {
    /// With everything that is configured, a model included: may take as long as a model takes.
    fn diagnose(&self, capture: &Capture) -> Diagnosis;

    /// What the rules say, at once.
    fn at_once(&self, capture: &Capture) -> Diagnosis {
        self.diagnose(capture)
    }

    /// The signature of a failure and what it was made of; empty if it can't be told.
    fn signature_parts(&self, capture: &Capture) -> (String, Vec<String>) {
        _ = capture;
        (String::new(), Vec::new())
    }

    /// All rules, to be looked at.
    fn rules(&self) -> RuleSet;

    /// From now on these rules, and no others, don't speak.
    fn silence(&self, ids: &[String]);

    /// Does [`Self::diagnose`] know more than [`Self::at_once`]?
    fn asks(&self) -> bool {
        false
    }
}

/// What the desk may be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Must whoever asks say who they are?
    pub auth: bool,
    /// Does whatever stands in front speak TLS with browsers, without a `public_url` that says so?
    pub behind_tls: bool,
    /// Where people reach the desk (`https://coroner.example`), for links and cookies. Unknown: from the request.
    pub public_url: Option<String>,
    /// Where nobody is asked who they are: answer under any name, not only under an address of this machine?
    pub any_host: bool,
    /// How much is taken and how long is waited.
    pub limits: Limits,
    /// What else is configured, for people to read: nothing here decides anything.
    pub sections: Vec<Section>,
    /// Who is told of failures, if anybody is.
    pub alerts: Option<Alerts>,
    /// Of what is done spans are made, if anybody wants them.
    pub traces: Option<Traces>,
    /// What is kept no longer; by itself, everything is kept.
    pub retention: Retention,
    /// How often what is kept no longer is removed.
    pub forget_every: Duration,
}

/// A part of the configuration, as it is shown.
#[derive(Debug, Clone)]
pub struct Section {
    /// What it is about ("Retention").
    pub name: &'static str,
    /// The table of the configuration file.
    pub table: &'static str,
    /// Names and values. Secrets are never among them.
    pub lines: Vec<(&'static str, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: true,
            behind_tls: false,
            public_url: None,
            any_host: false,
            limits: Limits::default(),
            sections: Vec::new(),
            alerts: None,
            traces: None,
            retention: Retention::default(),
            forget_every: Duration::from_secs(24 * 3600),
        }
    }
}

/// How much is taken and how long is waited, so that no client can take the desk from the others.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Requests that are being answered at the same time.
    pub requests: usize,
    /// Logs that are being sent to us at the same time.
    pub uploads: usize,
    /// Large answers that are being sent by us at the same time: logs and exports.
    pub downloads: usize,
    /// Clients of live events.
    pub live_clients: usize,
    /// How long a request's head may take to arrive.
    pub head: Duration,
    /// How long an answer may take to begin; bodies of logs have `idle` instead.
    pub answer: Duration,
    /// How long a body may stand still, whichever way it goes.
    pub idle: Duration,
    /// Bytes of a JSON body, as it is when unpacked.
    pub json: usize,
    /// Bytes of a log, as it is when unpacked.
    pub log: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            requests: 512,
            uploads: 128,
            downloads: 64,
            live_clients: 10_000,
            head: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            json: 16 << 20,
            log: 4 << 30,
        }
    }
}

/// Everything that a request needs. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    store: Store,
    analyst: Arc<dyn Analyst>,
    settings: Settings,
    started_at: Timestamp,
    busy: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    ending: watch::Sender<bool>,
    throttle: Throttle,
    pending: Pending,
    live: Live,
    figures: Figures,
    explain: Arc<Semaphore>,
    judges: Judges,
    baselines: Baselines,
    pages: page::Kept,
    answers: Answers,
    /// Rules that don't speak, as the analyst was told.
    silenced: Mutex<Option<Vec<String>>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Desk {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, analyst: Arc<dyn Analyst>, settings: Settings) -> Self {
        let busy = Arc::new(Semaphore::new(settings.limits.requests));
        let (ending, _) = watch::channel(false);
        Self(Arc::new(Inner {
            store,
            analyst,
            started_at: Timestamp::now(),
            busy,
            uploads: Arc::new(Semaphore::new(settings.limits.uploads)),
            downloads: Arc::new(Semaphore::new(settings.limits.downloads)),
            ending,
            throttle: Throttle::default(),
            pending: Pending::default(),
            live: Live::new(settings.limits.live_clients),
            figures: Figures::default(),
            explain: Arc::new(Semaphore::new(EXPLAINED)),
            judges: Judges::new(),
            baselines: Baselines::default(),
            pages: page::Kept::default(),
            answers: Answers::default(),
            silenced: Mutex::default(),
            settings,
        }))
    }

    /// Experiments, diagnoses, logs.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Who makes diagnoses.
    #[must_use]
    pub fn analyst(&self) -> &Arc<dyn Analyst> {
        &self.0.analyst
    }

    /// What the desk was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Since when it stands.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// Has the rules be silent that the store says: here, or by another process, somebody may have switched one.
    pub(crate) async fn heed_silence(&self) -> Result<(), coroner_store::Error> {
        let silenced: Vec<String> = self.store().silenced().await?.into_iter().map(|it| it.rule).collect();
        let mut told = self.0.silenced.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&silenced) {
            self.0.analyst.silence(&silenced);
            *told = Some(silenced);
        }
        Ok(())
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    pub(crate) fn pending(&self) -> &Pending {
        &self.0.pending
    }

    pub(crate) fn live(&self) -> &Live {
        &self.0.live
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// What failures are compared with.
    pub(crate) fn baselines(&self) -> &Baselines {
        &self.0.baselines
    }

    /// What pages show to everybody alike.
    pub(crate) fn pages(&self) -> &page::Kept {
        &self.0.pages
    }

    /// What was answered since anything was written.
    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// A place among those that large answers are sent to.
    pub(crate) fn download(&self) -> Answer<OwnedSemaphorePermit> {
        Arc::clone(&self.0.downloads).try_acquire_owned().map_err(|_| {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many logs and exports are being sent")
                .again_after(5)
        })
    }

    pub(crate) fn uploads(&self) -> &Arc<Semaphore> {
        &self.0.uploads
    }

    /// Diagnoses that wait for a model.
    pub(crate) fn explain(&self) -> &Arc<Semaphore> {
        &self.0.explain
    }

    /// Has the rules look at something.
    pub(crate) async fn judged<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Analyst) -> T + Send + 'static,
    ) -> Answer<T> {
        let analyst = Arc::clone(&self.0.analyst);
        self.0.judges.ask(move || look(&*analyst)).await.ok_or_else(Failure::internal)
    }

    /// Waits until nothing is being answered or changed any more.
    pub(crate) async fn at_rest(&self) {
        let all = u32::try_from(self.settings().limits.requests).unwrap_or(u32::MAX);
        _ = self.0.busy.acquire_many(all).await;
    }

    /// Removes what is kept no longer. What could not be removed is complained of and is tried again the next time.
    pub(crate) async fn forget(&self) -> Result<(), coroner_store::Error> {
        let pruned = self.store().prune(self.settings().retention.clone(), Timestamp::now()).await?;
        pruned.problems.iter().for_each(|problem| crate::guard::complain(problem));
        Ok(())
    }

    /// Waits until no diagnosis waits for a model any more, or for so long.
    pub(crate) async fn settled(&self, limit: Duration) {
        let all = u32::try_from(EXPLAINED).unwrap_or(u32::MAX);
        _ = tokio::time::timeout(limit, self.0.explain.acquire_many(all)).await;
    }

    /// Do browsers reach the desk over TLS?
    pub(crate) fn is_secure(&self) -> bool {
        let settings = &self.0.settings;
        settings.behind_tls || settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    pub(crate) fn busy(&self) -> &Arc<Semaphore> {
        &self.0.busy
    }

    /// Becomes true when the desk is to close: what lasts (live events) ends then.
    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.0.ending.subscribe()
    }

    pub(crate) fn end(&self) {
        self.0.ending.send_replace(true);
    }
}
