//! `coroner analyze` and `coroner evidence`: a failure that somebody else ran.

mod batch;

use std::sync::Arc;

use coroner_diagnosis::{Capture, Diagnosis, Signature};
use coroner_store::{SavedFailure, Store};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::analyst::{Analyst, heard, runtime, settings};
use crate::args::{AnalyzeArgs, EvidenceArgs, Format};
use crate::card::{Facts, card};
use crate::context::{Context, DONE, Failed};
use crate::history::look_up;
use crate::source;

/// Says why.
pub(crate) fn analyze(context: &Context, args: &AnalyzeArgs) -> Result<u8, Failed> {
    let runtime = runtime()?;
    if let Some(path) = &args.batch {
        return batch::run(context, path, args, &runtime);
    }
    let (mut capture, log) = source::capture(context, &args.failure, args.save)?;
    capture.experiment_id.clone_from(&args.id);
    capture.experiment_type.clone_from(&args.kind);
    let history = history(context, args.save, &runtime);
    let analyst = Analyst::new(context, args.offline, history.store(), Arc::clone(&runtime))?;
    let mut diagnosis = analyst.diagnose(&capture);
    let alike = history.look_up(&mut diagnosis, args.id.as_deref(), &runtime);
    let saved = args.save.then(|| save(&history, args, &diagnosis, log, &runtime));
    let signature = args.explain.then(|| analyst.examine(&capture).signature);
    show(context, &diagnosis, &capture, alike, signature.as_ref(), args)?;
    match saved {
        Some(Err(failed)) => Err(failed),
        Some(Ok(id)) => {
            context.note(&format!("kept as {id}: coroner show {id}"));
            Ok(DONE)
        }
        None => Ok(DONE),
    }
}

fn show(
    context: &Context,
    diagnosis: &Diagnosis,
    capture: &Capture,
    alike: Option<u64>,
    signature: Option<&Signature>,
    args: &AnalyzeArgs,
) -> Result<(), Failed> {
    if context.format == Format::Json {
        let mut value = serde_json::to_value(diagnosis).map_err(anyhow::Error::from)?;
        if let (Some(signature), Some(object)) = (signature, value.as_object_mut()) {
            object.insert("signature_parts".to_owned(), signature.parts.clone().into());
        }
        return context.print_json(&value);
    }
    let subject = args.failure.log.as_ref().map(|p| p.display().to_string()).filter(|p| p != "-");
    let facts = Facts {
        subject: subject.as_deref(),
        log_lines: args.failure.log.is_some().then(|| capture.log.lines()),
        alike,
        ..Facts::default()
    };
    let mut text = card(diagnosis, &facts, context.out());
    if let Some(signature) = signature {
        text.push_str(&format!("  Signature {}, made of\n", signature.id));
        for part in &signature.parts {
            text.push_str(&format!("    {}\n", crate::printable::printable(part, context.out().unicode)));
        }
    }
    context.print(&text)
}

fn save(
    history: &History,
    args: &AnalyzeArgs,
    diagnosis: &Diagnosis,
    log: Option<source::Again>,
    runtime: &Runtime,
) -> Result<String, Failed> {
    let store = history.wanted()?;
    let keep = |log| {
        let kept = runtime.block_on(store.keep_log(log));
        kept.map_err(|e| Failed::Outside(anyhow::Error::new(e).context("can't keep the log")))
    };
    let log = log.map(keep).transpose()?;
    let failure = SavedFailure {
        id: args.id.clone(),
        experiment_type: args.kind.clone().unwrap_or_default(),
        at: Timestamp::now(),
        command: coroner_store::CommandLine::default(),
        exit: None,
        reason: None,
        diagnosis: diagnosis.clone(),
        log,
    };
    let saved = runtime.block_on(store.save_diagnoses(vec![failure]))?;
    Ok(saved.first().map(|s| s.id.to_string()).unwrap_or_default())
}

/// The store, if it is wanted or there already: what happened before.
struct History(Option<Result<Store, coroner_store::Error>>);

fn history(context: &Context, wanted: bool, runtime: &Runtime) -> History {
    let url = context.store_url();
    let missing = url.strip_prefix("sqlite:").is_some_and(|path| !std::path::Path::new(path).exists());
    let opened = (wanted || !missing).then(|| runtime.block_on(crate::storage::open(context)));
    if let (false, Some(Err(e))) = (wanted, &opened) {
        context.note(&format!("earlier failures are not looked at: {e}"));
    }
    History(opened)
}

impl History {
    fn store(&self) -> Option<&Store> {
        self.0.as_ref().and_then(|s| s.as_ref().ok())
    }

    /// The store, or why it can't be had.
    fn wanted(&self) -> Result<&Store, Failed> {
        match &self.0 {
            Some(Ok(store)) => Ok(store),
            Some(Err(e)) => Err(e.clone().into()),
            None => Err(Failed::Outside(anyhow::anyhow!("the store was not opened"))),
        }
    }

    /// The one of this `id`, looked at before, is this failure and none like it.
    fn look_up(&self, diagnosis: &mut Diagnosis, id: Option<&str>, runtime: &Runtime) -> Option<u64> {
        let alike = look_up(self.store()?, diagnosis, None, runtime)?;
        let found = diagnosis.similar.len();
        diagnosis.similar.retain(|earlier| Some(earlier.experiment_id.as_str()) != id);
        Some(alike.saturating_sub((found - diagnosis.similar.len()) as u64))
    }
}

/// Prints the excerpt that a model would be sent.
pub(crate) fn evidence(context: &Context, args: &EvidenceArgs) -> Result<u8, Failed> {
    let (capture, _) = source::capture(context, &args.failure, false)?;
    let rules = crate::analyst::rules(context)?;
    let runtime = runtime()?;
    let rules = heard(context, rules, history(context, false, &runtime).store(), &runtime);
    let settings = settings(context);
    let excerpt = coroner_diagnosis::examine(&capture, &rules, &settings)
        .excerpt(args.budget.unwrap_or(settings.budget));
    match context.format {
        Format::Json => context.print_json(&excerpt)?,
        Format::Text => {
            let unicode = context.out().unicode;
            context.print(&crate::printable::printable_lines(&excerpt.text, unicode))?;
        }
    }
    Ok(DONE)
}
