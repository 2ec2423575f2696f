//! What a model is asked and what it answers: the two values that cross from the pure core to `llm` and back.

use serde::{Deserialize, Serialize};

/// The version of prompt and schema; part of the key under which replies are kept.
pub const PROMPT_VERSION: &str = "1";

/// Everything a provider needs to ask. Holds no secret: redaction has been done.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The instructions.
    pub system: String,
    /// The evidence, fenced as data.
    pub prompt: String,
    /// JSON schema of the answer, inside the subset that the providers' structured output takes; null where the answer
    /// is a text of its own.
    pub schema: serde_json::Value,
    /// See [`PROMPT_VERSION`].
    pub prompt_version: &'static str,
    /// The failure's signature; with version and model the key of the reply cache.
    pub signature: String,
}

/// A model's answer as it came: read and checked by the core, not by the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The text of the answer, meant to be JSON of the asked schema.
    pub text: String,
    /// The model that answered, as it named itself.
    pub model: String,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written, thinking included.
    pub output_tokens: u64,
    /// US dollars, where the price is known.
    pub cost_usd: Option<f64>,
    /// From the reply cache: nothing was asked.
    pub cached: bool,
    /// Something to say once to the user ("model X is gone, using Y").
    pub notice: Option<String>,
}
