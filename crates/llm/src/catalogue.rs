//! The models that a provider has, and which one stands in for one that is gone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A model, as its provider lists it. What the provider does not tell is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its id.
    pub id: String,
    /// `opus`, `sonnet`, `haiku` and so on.
    pub line: Option<String>,
    /// Active, deprecated or retired.
    pub lifecycle: Option<Lifecycle>,
    /// RFC 3339; when it was released.
    pub created_at: Option<String>,
    /// RFC 3339; when it is planned to go.
    pub retires_at: Option<String>,
    /// Does it answer by a JSON schema.
    pub structured_output: Option<bool>,
    /// Tokens that it reads at most.
    pub max_input_tokens: Option<u64>,
}

/// Where a model is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Available.
    Active,
    /// Still answers, but will go.
    Deprecated,
    /// Gone.
    Retired,
}

impl ModelInfo {
    /// Reads `data` of `GET /v1/models`, Anthropic's or OpenAI's. Entries without an id are left out.
    pub(crate) fn read_list(body: &Value) -> Option<Vec<Self>> {
        let data = body.get("data").or_else(|| body.get("models"))?.as_array()?;
        Some(data.iter().filter_map(Self::read).collect())
    }

    /// Reads one entry of it, or the page of one model.
    pub(crate) fn read(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("id").or_else(|| text("name"))?;
        Some(Self {
            line: text("line").or_else(|| line_of(&id).map(str::to_owned)),
            id,
            lifecycle: entry.get("lifecycle").and_then(|v| Lifecycle::deserialize(v).ok()),
            created_at: text("created_at"),
            retires_at: text("retires_at"),
            structured_output: entry
                .pointer("/capabilities/structured_outputs/supported")
                .and_then(Value::as_bool),
            max_input_tokens: entry.get("max_input_tokens").and_then(Value::as_u64),
        })
    }

    /// Is it there, for all we are told?
    pub(crate) fn answers(&self) -> bool {
        self.lifecycle != Some(Lifecycle::Retired)
    }
}

/// The newest active model of the line that `gone` belonged to.
pub(crate) fn replacement<'a>(gone: &str, models: &'a [ModelInfo]) -> Option<&'a ModelInfo> {
    // the provider's own word for the line, if it still lists the model; its name otherwise
    let line =
        models.iter().find(|m| m.id == gone).and_then(|m| m.line.as_deref()).or_else(|| line_of(gone))?;
    models
        .iter()
        .filter(|m| m.id != gone && m.line.as_deref() == Some(line))
        .filter(|m| m.lifecycle.is_none_or(|l| l == Lifecycle::Active) && m.structured_output != Some(false))
        // RFC 3339 in UTC sorts as text; the id breaks ties and stands in where no date is given
        .max_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)))
}

/// `sonnet` of `claude-sonnet-4-20250514` and of `claude-3-5-sonnet-latest`. Only for models that the provider
/// no longer lists: where it does, it names the line itself.
fn line_of(id: &str) -> Option<&str> {
    let id = id.rsplit('/').next()?;
    id.strip_prefix("claude-")?
        .split('-')
        .find(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list() -> Vec<ModelInfo> {
        let model = |id: &str, line: Value, lifecycle: &str, created: &str, structured: bool| {
            json!({"type": "model", "id": id, "line": line, "lifecycle": lifecycle, "created_at": created,
                   "capabilities": {"structured_outputs": {"supported": structured}}})
        };
        ModelInfo::read_list(&json!({"data": [
            model("claude-sonnet-6", json!("sonnet"), "active", "2026-12-01T00:00:00Z", false),
            model("claude-sonnet-5-5", json!("sonnet"), "active", "2026-09-28T00:00:00Z", true),
            model("claude-sonnet-5", json!("sonnet"), "active", "2026-06-30T00:00:00Z", true),
            model("claude-sonnet-4-5-20250929", json!("sonnet"), "deprecated", "2027-09-29T00:00:00Z", true),
            model("claude-opus-5-5", json!("opus"), "active", "2026-10-22T00:00:00Z", true),
            model("claude-haiku-9", json!("haiku"), "retired", "2027-10-22T00:00:00Z", true),
            model("claude-haiku-5-5", json!("haiku"), "active", "2026-10-07T00:00:00Z", true),
            model("claude-renamed", json!("opus"), "retired", "2025-10-07T00:00:00Z", true),
            {"object": "no id"},
        ]}))
        .unwrap()
    }

    #[test]
    fn the_newest_active_model_of_the_line_stands_in() {
        let models = list();
        for (gone, stand_in) in [
            ("claude-sonnet-4-20250514", Some("claude-sonnet-5-5")),
            ("claude-3-5-sonnet-latest", Some("claude-sonnet-5-5")),
            ("claude-3-haiku-20240307", Some("claude-haiku-5-5")),
            ("claude-opus-4-1", Some("claude-opus-5-5")),
            ("claude-renamed", Some("claude-opus-5-5")),
            ("claude-2.1", None),
            ("claude-", None),
            ("gpt-4", None),
            ("", None),
        ] {
            assert_eq!(replacement(gone, &models).map(|m| m.id.as_str()), stand_in, "{gone}");
        }
    }

    #[test]
    fn lists_of_other_servers_are_read_too() {
        let openai =
            json!({"object": "list", "data": [{"id": "qwen2.5-coder", "object": "model", "created": 1}]});
        let models = ModelInfo::read_list(&openai).unwrap();
        assert_eq!(
            (models[0].id.as_str(), models[0].lifecycle, models[0].answers()),
            ("qwen2.5-coder", None, true)
        );
        assert_eq!(ModelInfo::read_list(&json!({"oops": 1})), None);
        assert_eq!(ModelInfo::read_list(&json!([1])), None);
    }
}
