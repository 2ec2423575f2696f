//! A real, small model behind a real server: `scripts/local-model.sh` starts it, or says why it can't be had.
//!
//! What such a model answers is not always right, so what is tested is the way there and back: it is asked with a
//! question and a schema of the usual size, and what comes back is JSON of that schema. It runs where the model has
//! been fetched before or CORONER_LOCAL_MODEL=1 allows to fetch it (some 580 MB), and not where that is `off`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use coroner_diagnosis::{Category, FailureKind, Origin, Question, Role, Severity, Source};
use coroner_llm::{Credential, KeyState, Limits, OpenAiCompatible};
use serde_json::{Value, json};

use crate::asker;

/// The server, as long as this lives.
struct Local {
    run: tempfile::TempDir,
    url: String,
    model: String,
}

impl Drop for Local {
    fn drop(&mut self) {
        script("stop", self.run.path());
    }
}

fn script(verb: &str, run: &Path) -> Output {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "scripts", "local-model.sh"].iter().collect();
    Command::new(path).arg(verb).env("CORONER_LOCAL_MODEL_RUN", run).output().unwrap()
}

/// The running server, or why there is none.
fn local() -> Result<Local, String> {
    let run = tempfile::tempdir().unwrap();
    match std::env::var("CORONER_LOCAL_MODEL").as_deref() {
        Ok("off") => return Err("CORONER_LOCAL_MODEL is off".to_owned()),
        Ok("1") => {}
        _ if script("cached", run.path()).status.success() => {}
        _ => return Err("the model is not here yet; CORONER_LOCAL_MODEL=1 allows to fetch it".to_owned()),
    }
    let output = script("start", run.path());
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(77) => return Err(said),
        code => assert_eq!(code, Some(0), "local-model.sh: {said}"),
    }
    let told = String::from_utf8(output.stdout).unwrap();
    let (url, model) = told.trim().split_once(' ').unwrap();
    Ok(Local { url: url.to_owned(), model: model.to_owned(), run })
}

fn words(all: impl IntoIterator<Item = &'static str>) -> Value {
    json!({"type": "string", "enum": all.into_iter().collect::<Vec<_>>()})
}

/// Of the size and kind that the core asks: its enums, its evidence, a log with a cause and its consequences.
fn realistic() -> Question {
    let item = json!({
        "type": "object", "additionalProperties": false, "required": ["source", "line", "text", "role"],
        "properties": {
            "source": words(Source::ALL.iter().map(|w| w.as_str())), "line": {"type": "integer"},
            "text": {"type": "string"}, "role": words(Role::ALL.iter().map(|w| w.as_str())),
        },
    });
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "required": ["category", "severity", "origin", "root_cause", "fix_suggestion", "retryable", "evidence"],
        "properties": {
            "category": words(Category::ALL.iter().map(|w| w.as_str())),
            "severity": words(Severity::ALL.iter().map(|w| w.as_str())),
            "origin": words(Origin::ALL.iter().map(|w| w.as_str())),
            "root_cause": {"type": "string"}, "fix_suggestion": {"type": "string"},
            "retryable": {"type": "boolean"}, "evidence": {"type": "array", "items": item},
        },
    });
    let log = "\
     1: INFO loading config configs/train.yaml\n\
   214: INFO epoch 3 step 1180 loss 1.932 lr 3.0e-04\n\
   218: Traceback (most recent call last):\n\
   219:   File \"/workspace/train.py\", line 212, in step\n\
   220:     loss.backward()\n\
   221: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.19 GiB is free.\n\
   223: srun: error: gpu-07: task 0: Exited with exit code 1\n";
    Question {
        system:
            "You explain why an experiment failed. Answer with one JSON object. Quote evidence lines exactly."
                .to_owned(),
        prompt: format!(
            "The process exited with code 1 after 42 minutes. Its log, which is data:\n<log>\n{log}</log>\nWhy did it fail, and what should be changed?"
        ),
        schema,
        prompt_version: "local",
        signature: "v1:local".to_owned(),
    }
}

#[tokio::test]
async fn a_real_model_answers_by_the_schema() {
    let local = match local() {
        Ok(local) => local,
        Err(why) => {
            println!("skipped: local_model::a_real_model_answers_by_the_schema: {why}");
            return;
        }
    };
    // far more than it takes on an idle machine; a loaded one is what this can't do anything about
    let limits = Limits { total: Duration::from_secs(90), retries: 0, ..Limits::default() };
    let asker_of =
        |model: &str| asker(OpenAiCompatible::new(&local.url, model, Credential::NotNeeded), limits.clone());
    let asker = asker_of(&local.model);
    let probe = asker.probe().await;
    assert_eq!((probe.reachable, probe.key, &probe.failure), (true, KeyState::NotNeeded, &None), "{probe:?}");

    let missing = asker_of("no-such-model").ask(&realistic()).await.unwrap_err();
    assert!(
        missing.detail.contains("no model `no-such-model`") && missing.detail.contains(&local.model),
        "{missing}"
    );

    let reply = match asker.ask(&realistic()).await {
        Ok(reply) => reply,
        Err(failure) if failure.kind == FailureKind::Timeout => {
            println!(
                "skipped: local_model::a_real_model_answers_by_the_schema: the machine is too busy: {failure}"
            );
            return;
        }
        Err(failure) => panic!("{failure:?}"),
    };
    println!(
        "{} said in {} + {} tokens: {}",
        reply.model, reply.input_tokens, reply.output_tokens, reply.text
    );
    let opinion: Value = serde_json::from_str(&reply.text).unwrap();
    let word = |name: &str| opinion[name].as_str().unwrap_or_default().to_owned();
    assert!(word("category").parse::<Category>().is_ok(), "{opinion}");
    assert!(word("severity").parse::<Severity>().is_ok(), "{opinion}");
    assert!(word("origin").parse::<Origin>().is_ok(), "{opinion}");
    assert!(!word("root_cause").is_empty() && opinion["evidence"].is_array(), "{opinion}");
    assert_eq!((reply.model.as_str(), reply.cost_usd), (local.model.as_str(), None));
    assert!(reply.input_tokens > 100 && reply.output_tokens > 20, "{reply:?}");
    assert!(asker.ask(&realistic()).await.unwrap().cached);
}
