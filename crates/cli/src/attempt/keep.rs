//! What is kept of a test: a row before it starts and an end on every path, the code, a report of a failure, the best so far.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use coroner_diagnosis::Diagnosis;
use coroner_lab::attempt::{Best, Standing, Tested, Versions};
use coroner_lab::screen::CodeHash;
use coroner_lab::task::{Evaluator, Task};
use coroner_store::{Error, ExperimentId, NewExperiment, Outcome, Owner, Status, Store};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::args::TestArgs;
use crate::context::{Context, Failed, complain};

/// A test that is kept.
pub(super) struct Keeper<'a> {
    context: &'a Context,
    store: Store,
    id: ExperimentId,
    given: bool,
    versions: Versions,
    code: PathBuf,
    started: Timestamp,
}

impl<'a> Keeper<'a> {
    /// Writes the row and the code, durably; `None` if nothing is to be kept.
    pub(super) fn begin(
        args: &TestArgs,
        context: &'a Context,
        task: &Task,
        code: &[u8],
        runtime: &Arc<Runtime>,
    ) -> Result<Option<Self>, Failed> {
        if args.no_save {
            return Ok(None);
        }
        let folder = args.versions.clone().unwrap_or_else(|| {
            let data = context.env.data_home().unwrap_or_else(|| PathBuf::from("."));
            data.join("coroner/versions").join(&task.name)
        });
        let versions = Versions::open(&folder)
            .with_context(|| format!("can't make the versions folder {}", folder.display()))?;
        let started = Timestamp::now();
        let words =
            ["coroner", "test", &args.candidate.to_string_lossy(), "--task", &args.task.to_string_lossy()];
        let new = NewExperiment {
            id: args.id.clone(),
            experiment_type: task.name.clone(),
            command: words.into_iter().collect(),
            cwd: std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            owner: Owner::this_process(),
            started_at: started,
        };
        let (store, id) = runtime.block_on(async {
            let store = crate::storage::open(context).await?;
            let id = store.begin(new).await?;
            Ok::<_, Error>((store, id))
        })?;
        let keeper =
            Self { context, store, id, given: args.id.is_some(), versions, code: PathBuf::new(), started };
        crate::run::close_orphans(&keeper.store, context, runtime).iter().for_each(|note| context.note(note));
        let extension = match &task.evaluator {
            Evaluator::Command(command) => Path::new(&command.candidate).extension(),
            Evaluator::Python(_) => None,
        };
        let extension = extension.map_or_else(|| "py".to_owned(), |e| e.to_string_lossy().into_owned());
        match keeper.versions.keep_code(&keeper.id(), &extension, code, started) {
            Ok(code) => Ok(Some(Self { code, ..keeper })),
            Err(error) => {
                let folder = keeper.versions.folder().display().to_string();
                keeper.end(
                    Status::Lost,
                    None,
                    Some("its code could not be kept".to_owned()),
                    None,
                    &[],
                    runtime,
                )?;
                Err(anyhow::Error::new(error)
                    .context(format!("can't write into the versions folder {folder}"))
                    .into())
            }
        }
    }

    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }

    pub(super) fn number(&self) -> u64 {
        self.id.number()
    }

    /// What to call it: what the user gave, or "exp 12".
    pub(super) fn label(&self) -> String {
        if self.given { self.id() } else { format!("exp {}", self.number()) }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn folder(&self) -> &Path {
        self.versions.folder()
    }

    pub(super) fn standing(&self, code_hash: &CodeHash) -> std::io::Result<Standing> {
        self.versions.standing(code_hash.as_str())
    }

    /// It was stopped: nothing is known of it, and it is no failure.
    pub(super) fn interrupted(&self, tested: &Tested, runtime: &Runtime) -> Result<(), Failed> {
        let exit = tested.exit();
        self.end(Status::Lost, exit, Some("interrupted".to_owned()), None, &tested.log, runtime)
    }

    pub(super) fn finish(
        &self,
        tested: &Tested,
        diagnosis: Option<&Diagnosis>,
        runtime: &Runtime,
    ) -> Result<(), Failed> {
        let reason = tested.result(None).reason;
        self.end(tested.status(), tested.exit(), Some(reason), diagnosis.cloned(), &tested.log, runtime)
    }

    fn end(
        &self,
        status: Status,
        exit: Option<coroner_diagnosis::Exit>,
        reason: Option<String>,
        diagnosis: Option<Diagnosis>,
        log: &[u8],
        runtime: &Runtime,
    ) -> Result<(), Failed> {
        let log = std::io::Cursor::new(log.to_vec());
        let kept = runtime.block_on(self.store.keep_log(log));
        let kept = kept.map_err(|error| complain(&format!("the log is not kept: {error}"))).ok();
        let outcome = Outcome { status, exit, ended_at: Timestamp::now(), reason, log: kept, diagnosis };
        Ok(runtime.block_on(self.store.finish(&self.id, outcome))?)
    }

    /// Adds what happened before; and keeps what a model said.
    pub(super) fn look_up(&self, diagnosis: &mut Diagnosis, attach: bool, runtime: &Runtime) -> Option<u64> {
        let alike = crate::history::look_up(&self.store, diagnosis, Some(&self.id), runtime);
        if attach
            && let Err(error) = runtime.block_on(self.store.attach_diagnosis(&self.id, diagnosis.clone()))
        {
            complain(&format!("the diagnosis below is not kept: {error}"));
        }
        // this one is counted already
        alike.map(|alike| alike.saturating_sub(1))
    }

    /// The report of a failure, or the figures that the next candidate is compared with.
    pub(super) fn write_versions(
        &self,
        tested: &Tested,
        diagnosis: Option<&Diagnosis>,
        code: &[u8],
    ) -> Result<(), Failed> {
        let folder = self.versions.folder().display().to_string();
        let failed =
            |error| Failed::Outside(anyhow::Error::new(error).context(format!("can't write into {folder}")));
        if let (Status::TestFailed, Some(diagnosis)) = (tested.status(), diagnosis) {
            let refused = tested.was_refused();
            let path = self
                .versions
                .keep_failure(refused, diagnosis, &tested.log, code, Timestamp::now())
                .map_err(failed)?;
            self.context.note(&format!("the report is in {}", path.display()));
        }
        // a result that does not count is nothing to compare with
        if tested.score.is_some() {
            let one = Best {
                version: self.label(),
                code_hash: tested.code_hash.as_str().to_owned(),
                file: self.code.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                metrics: tested.metrics.clone(),
                held_out: tested.held_out.clone(),
                timestamp: self.started.to_string(),
            };
            self.versions.settle(&one, tested.status() == Status::Adopted).map_err(failed)?;
        }
        Ok(())
    }
}
