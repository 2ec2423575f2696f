//! Anthropic's Messages API over plain HTTP.
//!
//! As it is in November 2026 (the official Python SDK 2.12.0 and platform.claude.com): structured output by
//! `output_config.format`; sampling parameters, forced tools and prefill are rejected and not sent; thinking
//! comes in blocks of its own before the text and counts in `max_tokens`.

use coroner_diagnosis::Question;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Ending, Usage};
use crate::catalogue::ModelInfo;
use crate::endpoint::{Auth, Call, Deadline, Endpoint, Failed, not_an_answer};
use crate::failure::AskError;
use crate::key::Credential;
use crate::model::Known;
use crate::prices;

/// Where the API is.
pub const ANTHROPIC_URL: &str = "https://api.anthropic.com";
/// The model that is asked unless another one is configured. (The original's is retired since June 2026.)
pub const DEFAULT_MODEL: &str = "claude-sonnet-5-5";
/// The same for a twentieth of the money.
pub const CHEAP_MODEL: &str = "claude-haiku-5-5";

/// Tokens of the answer itself, as in the original.
const ANSWER_TOKENS: u32 = 1_024;
/// The same for an answer that is a text of its own, such as a program.
const TEXT_TOKENS: u32 = 16 * 1_024;
/// Room on top for a model that thinks: at low effort it needs a fraction, and the time limit ends it long before.
const THINKING_ROOM: u32 = 15 * 1_024;

/// The version that the current official SDK sends; with it come lifecycle, line and error codes.
const HEADERS: &[(&str, &str)] = &[("anthropic-version", "2026-10-21")];

/// Anthropic, or a gateway that speaks its language.
#[derive(Debug)]
pub struct Anthropic {
    endpoint: Endpoint,
    model: String,
}

impl Anthropic {
    /// `base` is usually [`ANTHROPIC_URL`].
    #[must_use]
    pub fn new(base: &str, model: &str, credential: Credential) -> Self {
        Self {
            endpoint: Endpoint::new(base, Auth::ApiKeyHeader, HEADERS, credential),
            model: model.to_owned(),
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
        let (max_tokens, body) = request(model, question);
        let call = Call { path: "/v1/messages", body: Some(&body), model };
        let answer = self.endpoint.send(call, deadline).await?;
        read(answer, max_tokens).map_err(|what| not_an_answer(self.endpoint.shown(), what))
    }

    pub(crate) async fn list(&self, deadline: Deadline) -> Result<Vec<ModelInfo>, Failed> {
        // one page is all: more than 1,000 models are not to be had on one
        let call = Call { path: "/v1/models?limit=1000", body: None, model: &self.model };
        let answer = self.endpoint.send(call, deadline).await?;
        ModelInfo::read_list(&answer)
            .ok_or_else(|| not_an_answer(self.endpoint.shown(), "JSON that is no list of models"))
    }

    /// The page of one model knows retired ones too, which the list leaves out.
    pub(crate) async fn look_up(&self, model: &str, deadline: Deadline) -> Result<Known, Failed> {
        let path = format!("/v1/models/{model}");
        match self.endpoint.send(Call { path: &path, body: None, model }, deadline).await {
            Ok(page) => ModelInfo::read(&page)
                .map(Known::Listed)
                .ok_or_else(|| not_an_answer(self.endpoint.shown(), "JSON that is no model")),
            Err(Failed { error: AskError::ModelGone { .. }, .. }) => Ok(Known::Gone),
            Err(failed) => Err(failed),
        }
    }
}

/// What is sent, and the cap on the answer in it.
pub(crate) fn request(model: &str, question: &Question) -> (u32, Value) {
    let thinks = prices::thinks(model);
    let mut output_config = json!({});
    let mut max_tokens = TEXT_TOKENS;
    if !question.schema.is_null() {
        max_tokens = ANSWER_TOKENS;
        output_config["format"] = json!({"type": "json_schema", "schema": question.schema});
    }
    if thinks {
        max_tokens += THINKING_ROOM;
        output_config["effort"] = if question.schema.is_null() { "medium" } else { "low" }.into();
    }
    let mut body = json!({
        "model": model,
        "max_tokens": max_tokens,
        "system": question.system,
        "messages": [{"role": "user", "content": question.prompt}],
    });
    if output_config.as_object().is_some_and(|config| !config.is_empty()) {
        body["output_config"] = output_config;
    }
    (max_tokens, body)
}

#[derive(Deserialize)]
struct Message {
    model: String,
    content: Vec<Block>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
    #[serde(default)]
    usage: MessageUsage,
}

/// A block of the answer. Only text is ours: thinking comes first and is not the answer, others we did not ask for.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct StopDetails {
    category: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

pub(crate) fn read(answer: Value, max_tokens: u32) -> Result<Answer, &'static str> {
    let message: Message = serde_json::from_value(answer).map_err(|_| "JSON that is no message")?;
    let ending = match message.stop_reason.as_deref() {
        Some("max_tokens") => Ending::CutOff { max_tokens },
        Some("refusal") => Ending::Refused { category: message.stop_details.and_then(|d| d.category) },
        Some("model_context_window_exceeded") => Ending::ContextExceeded,
        _ => Ending::Whole,
    };
    let usage = &message.usage;
    let cached = usage.cache_creation_input_tokens.unwrap_or(0) + usage.cache_read_input_tokens.unwrap_or(0);
    Ok(Answer {
        text: message.content.into_iter().filter(|b| b.kind == "text").map(|b| b.text).collect(),
        model: message.model,
        ending,
        usage: Usage { input_tokens: usage.input_tokens + cached, output_tokens: usage.output_tokens },
    })
}
