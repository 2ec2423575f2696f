//! `coroner analyze` and `coroner evidence`: a failure that somebody else ran.

mod batch;

use std::sync::Arc;

use coroner_diagnosis::{Capture, Diagnosis, Signature};
use coroner_store::{SavedFailure, Store};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::analyst::{Analyst, runtime, settings};
use crate::args::{AnalyzeArgs, EvidenceArgs, Format};
use crate::card::{Facts, card};
use crate::context::{Context, DONE, Failed};
use crate::source;

/// Says why.
pub(crate) fn analyze(context: &Context, args: &AnalyzeArgs) -> Result<u8, Failed> {
    let runtime = runtime()?;
    if let Some(path) = &args.batch {
        return batch::run(context, path, args, &runtime);
    }
    let mut capture = source::capture(context, &args.failure)?;
    capture.experiment_id.clone_from(&args.id);
    capture.experiment_type.clone_from(&args.kind);
    let history = history(context, args.save, &runtime);
    let analyst = Analyst::new(context, args.offline, history.store(), Arc::clone(&runtime))?;
    let mut diagnosis = analyst.diagnose(&capture);
    let alike = history.look_up(&mut diagnosis, &runtime);
    let saved = args.save.then(|| save(&history, args, &diagnosis, &runtime));
    let signature = args.explain.then(|| analyst.examine(&capture).signature);
    context.print(&shown(context, &diagnosis, &capture, alike, signature.as_ref(), args)?)?;
    match saved {
        Some(Err(failed)) => Err(failed),
        Some(Ok(id)) => {
            context.note(&format!("kept as {id}: coroner show {id}"));
            Ok(DONE)
        }
        None => Ok(DONE),
    }
}

fn shown(
    context: &Context,
    diagnosis: &Diagnosis,
    capture: &Capture,
    alike: Option<u64>,
    signature: Option<&Signature>,
    args: &AnalyzeArgs,
) -> Result<String, Failed> {
    if context.format == Format::Json {
        let mut value = serde_json::to_value(diagnosis).map_err(anyhow::Error::from)?;
        if let (Some(signature), Some(object)) = (signature, value.as_object_mut()) {
            object.insert("signature_parts".to_owned(), signature.parts.clone().into());
        }
        return Ok(format!("{}\n", serde_json::to_string_pretty(&value).map_err(anyhow::Error::from)?));
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
    Ok(text)
}

fn save(
    history: &History,
    args: &AnalyzeArgs,
    diagnosis: &Diagnosis,
    runtime: &Runtime,
) -> Result<String, Failed> {
    let store = history.wanted()?;
    let log = match args.failure.log.as_deref().filter(|p| *p != std::path::Path::new("-")) {
        Some(path) => {
            let kept = std::fs::File::open(path).map(|file| runtime.block_on(store.keep_log(file)));
            Some(kept.and_then(|k| k).map_err(|e| {
                Failed::Outside(anyhow::anyhow!("can't keep the log {}: {e}", path.display()))
            })?)
        }
        None => None,
    };
    let failure = SavedFailure {
        id: args.id.clone(),
        experiment_type: args.kind.clone().unwrap_or_default(),
        at: Timestamp::now(),
        diagnosis: diagnosis.clone(),
        log,
    };
    let saved = runtime.block_on(store.save_diagnoses(vec![failure])).map_err(outside)?;
    Ok(saved.first().map(|s| s.id.to_string()).unwrap_or_default())
}

/// Any error of the store.
fn outside(error: coroner_store::Error) -> Failed {
    Failed::Outside(error.into())
}

/// The store, if it is wanted or there already: what happened before.
struct History(Option<Result<Store, coroner_store::Error>>);

fn history(context: &Context, wanted: bool, runtime: &Runtime) -> History {
    let url = context.store_url();
    let there = url.strip_prefix("sqlite:").is_some_and(|path| std::path::Path::new(path).exists());
    History((wanted || there).then(|| runtime.block_on(Store::open(&url))))
}

impl History {
    fn store(&self) -> Option<&Store> {
        self.0.as_ref().and_then(|s| s.as_ref().ok())
    }

    /// The store, or why it can't be had.
    fn wanted(&self) -> Result<&Store, Failed> {
        match &self.0 {
            Some(Ok(store)) => Ok(store),
            Some(Err(e)) => Err(Failed::Outside(anyhow::anyhow!("{e}"))),
            None => Err(Failed::Outside(anyhow::anyhow!("the store was not opened"))),
        }
    }

    /// Adds what is known of failures like this one; the number of those with the same signature. A store that
    /// can't be read costs the history, not the diagnosis.
    fn look_up(&self, diagnosis: &mut Diagnosis, runtime: &Runtime) -> Option<u64> {
        let store = self.store()?;
        let cause = coroner_store::cause_text(diagnosis);
        let found =
            runtime.block_on(store.similar(&diagnosis.signature, &cause, None, 3)).unwrap_or_default();
        diagnosis.similar = found.into_iter().map(Into::into).collect();
        runtime.block_on(store.signature_stats(&diagnosis.signature)).ok().flatten().map(|s| s.count)
    }
}

/// Prints the excerpt that a model would be sent.
pub(crate) fn evidence(context: &Context, args: &EvidenceArgs) -> Result<u8, Failed> {
    let capture = source::capture(context, &args.failure)?;
    let rules = crate::analyst::rules(context)?;
    let settings = settings(context);
    let excerpt = coroner_diagnosis::examine(&capture, &rules, &settings)
        .excerpt(args.budget.unwrap_or(settings.budget));
    match context.format {
        Format::Json => context
            .print(&format!("{}\n", serde_json::to_string_pretty(&excerpt).map_err(anyhow::Error::from)?))?,
        Format::Text => {
            let unicode = context.out().unicode;
            context.print(&crate::printable::printable_lines(&excerpt.text, unicode))?;
        }
    }
    Ok(DONE)
}
