//! `/v1/chat/completions`, as Ollama, vLLM, llama.cpp, gateways and OpenAI itself serve it.

use std::sync::atomic::{AtomicBool, Ordering};

use coroner_diagnosis::Question;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Ending, Usage};
use crate::catalogue::ModelInfo;
use crate::endpoint::{Auth, Call, Deadline, Endpoint, Failed, not_an_answer};
use crate::failure::AskError;
use crate::key::Credential;

/// Whether such a model thinks can't be known, and an answer that is cut off is worth nothing.
const MAX_TOKENS: u32 = 8_192;
/// The same for an answer that is a text of its own, such as a program.
const TEXT_TOKENS: u32 = 16_384;
/// Small models write one string or one list for ever if nobody stops them: characters of a string,
const STRING_LIMIT: u32 = 600;
/// and items of a list.
const LIST_LIMIT: u32 = 5;

/// A server that speaks OpenAI's language.
#[derive(Debug)]
pub struct OpenAiCompatible {
    endpoint: Endpoint,
    model: String,
    bounded: bool,
    /// OpenAI's own newer models want the cap under another name, which most servers do not know.
    newer_cap: AtomicBool,
}

impl OpenAiCompatible {
    /// `base` with or without `/v1`. Without a key it is taken to be a small model near by, whose strings and
    /// lists are bounded in the schema; the hosted ones need no such help, and some reject it.
    #[must_use]
    pub fn new(base: &str, model: &str, credential: Credential) -> Self {
        Self {
            bounded: matches!(credential, Credential::NotNeeded),
            endpoint: Endpoint::new(base, Auth::Bearer, &[], credential),
            model: model.to_owned(),
            newer_cap: AtomicBool::new(false),
        }
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) async fn ask(
        &self,
        model: &str,
        question: &Question,
        deadline: Deadline,
    ) -> Result<Answer, Failed> {
        let newer_cap = self.newer_cap.load(Ordering::Relaxed);
        let sent = self.send(model, question, newer_cap, deadline).await;
        let sent = match sent {
            Err(Failed { error: AskError::Rejected { param, .. }, .. })
                if !newer_cap && param == "max_tokens" =>
            {
                self.newer_cap.store(true, Ordering::Relaxed);
                self.send(model, question, true, deadline).await
            }
            sent => sent,
        };
        read(sent?, model).map_err(|what| not_an_answer(self.endpoint.shown(), what))
    }

    async fn send(
        &self,
        model: &str,
        question: &Question,
        newer_cap: bool,
        deadline: Deadline,
    ) -> Result<Value, Failed> {
        let body = request(model, question, self.bounded, newer_cap);
        let call = Call { path: "/v1/chat/completions", body: Some(&body), model };
        self.endpoint.send(call, deadline).await
    }

    pub(crate) async fn list(&self, deadline: Deadline) -> Result<Vec<ModelInfo>, Failed> {
        let call = Call { path: "/v1/models", body: None, model: &self.model };
        let answer = self.endpoint.send(call, deadline).await?;
        ModelInfo::read_list(&answer)
            .ok_or_else(|| not_an_answer(self.endpoint.shown(), "JSON that is no list of models"))
    }
}

fn request(model: &str, question: &Question, bounded: bool, newer_cap: bool) -> Value {
    let mut schema = question.schema.clone();
    if bounded {
        bound(&mut schema);
    }
    let cap = if newer_cap { "max_completion_tokens" } else { "max_tokens" };
    let free = question.schema.is_null();
    let mut body = json!({
        "model": model,
        cap: if free { TEXT_TOKENS } else { MAX_TOKENS },
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.prompt},
        ],
    });
    if !free {
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": {"name": "diagnosis", "strict": true, "schema": schema},
        });
    }
    body
}

/// Gives every free string of `schema` a `maxLength` and every list a `maxItems`.
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let fixed = ["enum", "const", "format"].iter().any(|word| object.contains_key(*word));
            let limit = match object.get("type").and_then(Value::as_str) {
                Some("string") if !fixed => Some(("maxLength", STRING_LIMIT)),
                Some("array") => Some(("maxItems", LIST_LIMIT)),
                _ => None,
            };
            if let Some((word, limit)) = limit {
                object.entry(word).or_insert_with(|| limit.into());
            }
            object.values_mut().for_each(bound);
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<CompletionUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

/// What a model thought stands in fields of its own (`reasoning_content` and others) and is left out.
#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

fn read(answer: Value, asked: &str) -> Result<Answer, &'static str> {
    let completion: Completion = serde_json::from_value(answer).map_err(|_| "JSON that is no completion")?;
    let choice = completion.choices.into_iter().next().ok_or("a completion without a choice")?;
    let ending = match choice.finish_reason.as_deref() {
        Some("length") => Ending::CutOff { max_tokens: MAX_TOKENS },
        Some("content_filter") => Ending::Refused { category: Some("content_filter".to_owned()) },
        _ if choice.message.refusal.is_some_and(|said| !said.is_empty()) => {
            Ending::Refused { category: None }
        }
        _ => Ending::Whole,
    };
    let usage = completion.usage.unwrap_or_default();
    Ok(Answer {
        text: choice.message.content.unwrap_or_default(),
        model: completion.model.filter(|m| !m.is_empty()).unwrap_or_else(|| asked.to_owned()),
        ending,
        usage: Usage { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens },
    })
}
