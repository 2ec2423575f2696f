//! The crate as its callers see it, against real sockets on loopback; see `server` for who is on the other end.
#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

mod asker;
#[cfg(feature = "aws")]
mod bedrock;
mod failures;
mod gone;
mod keys;
mod local_model;
#[cfg(feature = "aws")]
mod secret;
mod sent;
mod server;
mod tls;

use std::sync::Arc;

use coroner_diagnosis::{PROMPT_VERSION, Question};
use coroner_llm::{
    Anthropic, ApiKey, Asker, Credential, Limits, MemoryLedger, Model, OpenAiCompatible, Prices,
};
use serde_json::json;

/// What must never be seen again outside a request's header.
const KEY: &str = "sk-ant-test-0123456789abcdefghij";

/// The two providers that go over HTTP: what holds for one has to hold for the other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect {
    Anthropic,
    OpenAi,
}

impl Dialect {
    const BOTH: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    fn model(self, base: &str) -> Model {
        self.named(base, "claude-sonnet-5-5", Credential::Key(ApiKey::new(KEY, "the test").unwrap()))
    }

    fn named(self, base: &str, model: &str, credential: Credential) -> Model {
        match self {
            Self::Anthropic => Anthropic::new(base, model, credential).into(),
            Self::OpenAi => OpenAiCompatible::new(base, model, credential).into(),
        }
    }

    /// A whole answer that says `text`, the way this provider would send it.
    fn answer(self, text: &str) -> String {
        self.ended(text, "end_turn", "stop")
    }

    /// An answer that stopped for a reason: Anthropic's word and OpenAI's for it.
    fn ended(self, text: &str, anthropic: &str, openai: &str) -> String {
        match self {
            Self::Anthropic => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
                "content": [
                    {"type": "thinking", "thinking": "not this", "signature": "x"},
                    {"type": "of_the_future", "text": "nor this"},
                    {"type": "text", "text": text},
                ],
                "stop_reason": anthropic, "stop_sequence": null,
                "stop_details": {"type": "refusal", "category": "frontier_llm"},
                "usage": {"input_tokens": 1_000, "output_tokens": 200, "cache_read_input_tokens": null},
            }),
            Self::OpenAi => json!({
                "id": "chatcmpl-1", "object": "chat.completion", "model": "claude-sonnet-5-5",
                "choices": [{"index": 0, "finish_reason": openai,
                    "message": {"role": "assistant", "content": text, "reasoning_content": "not this"}}],
                "usage": {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200},
            }),
        }
        .to_string()
    }

    /// A refusal with a type, a machine-readable code and a message.
    fn error(self, kind: &str, code: &str, message: &str) -> String {
        match self {
            Self::Anthropic => json!({"type": "error", "request_id": "req_1",
                "error": {"type": kind, "message": message, "details": {"error_code": code}}}),
            Self::OpenAi => json!({"error": {"type": kind, "message": message, "param": null, "code": code}}),
        }
        .to_string()
    }
}

fn asker(model: impl Into<Model>, limits: Limits) -> Asker {
    Asker::new(model.into(), Arc::new(MemoryLedger::default()), limits, Prices::default())
}

fn question(signature: &str) -> Question {
    Question {
        system: "You explain why experiments died.".to_owned(),
        prompt: "<log>\n12: ModuleNotFoundError: No module named 'einops'\n</log>".to_owned(),
        schema: json!({
            "type": "object", "additionalProperties": false,
            "required": ["category", "root_cause", "evidence"],
            "properties": {
                "category": {"type": "string", "enum": ["import_error", "timeout"]},
                "root_cause": {"type": "string"},
                "evidence": {"type": "array", "items": {"type": "string"}},
            },
        }),
        prompt_version: PROMPT_VERSION,
        signature: signature.to_owned(),
    }
}
