//! What a provider says when it refuses, and what that means. One reading for all of them.

use reqwest::header::HeaderMap;
use serde_json::Value;

#[cfg(feature = "aws")]
use crate::aws::AwsTrouble;
use crate::failure::AskError;
use crate::quote;
use crate::retry;

/// An error body. Decisions are taken on `kind`, `code` and `param`, never on the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Complaint {
    /// `error.type`.
    pub(crate) kind: String,
    /// `error.details.error_code` or `error.code`.
    pub(crate) code: String,
    /// `error.param`: what was wrong with the request.
    pub(crate) param: String,
    /// `error.message`, as it came.
    pub(crate) message: String,
    /// There was a JSON object at all; a proxy's or another server's page has none.
    pub(crate) spoken: bool,
}

impl Complaint {
    /// Reads `{"error": {…}}`, `{"error": "…"}` (Ollama), `{"object": "error", …}` (vLLM) and what AWS says, half of it in a
    /// header; anything else is a complaint without words.
    pub(crate) fn read(body: &[u8], headers: &HeaderMap) -> Self {
        let body = serde_json::from_slice::<Value>(body);
        let header = headers.get("x-amzn-errortype").and_then(|it| it.to_str().ok());
        let field = body.as_ref().ok().and_then(|body| body.get("__type")?.as_str());
        if let Some(code) = header.or(field) {
            let says = |name: &str| body.as_ref().ok().and_then(|body| body.get(name)?.as_str());
            return Self {
                // a name space may stand before it and an address behind, of nobody's interest
                code: code
                    .rsplit('#')
                    .next()
                    .and_then(|it| it.split(':').next())
                    .unwrap_or_default()
                    .to_owned(),
                message: says("message").or(says("Message")).unwrap_or_default().to_owned(),
                spoken: true,
                ..Self::default()
            };
        }
        let Ok(Value::Object(body)) = body else { return Self::default() };
        let error = match body.get("error") {
            Some(Value::String(message)) => {
                return Self { message: message.clone(), spoken: true, ..Self::default() };
            }
            Some(error) => error,
            None if body.get("object").and_then(Value::as_str) == Some("error") => {
                &Value::Object(body.clone())
            }
            None => return Self::default(),
        };
        let word = |value: Option<&Value>| match value {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Number(n)) => n.to_string(),
            _ => String::new(),
        };
        Self {
            kind: word(error.get("type")),
            code: word(error.pointer("/details/error_code").or_else(|| error.get("code"))),
            param: word(error.get("param")),
            message: word(error.get("message")),
            spoken: error.is_object(),
        }
    }

    /// No money: asking again does not help.
    fn about_money(&self, status: u16) -> bool {
        status == 402
            || self.kind == "billing_error"
            || self.code.ends_with("spend_limit_reached")
            || [&self.kind, &self.code].iter().any(|word| {
                matches!(
                    word.as_str(),
                    "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active"
                )
            })
    }

    fn about_context(&self, status: u16) -> bool {
        status == 413
            || [&self.kind, &self.code].iter().any(|word| {
                matches!(
                    word.as_str(),
                    "context_length_exceeded" | "exceed_context_size_error" | "request_too_large"
                )
            })
    }

    /// What an answer that is not 2xx means. `secret` is taken out of what is repeated.
    pub(crate) fn means(&self, status: u16, headers: &HeaderMap, call: &Called<'_>) -> AskError {
        let endpoint = call.endpoint.to_owned();
        let said = quote::short(&self.message, call.secret);
        #[cfg(feature = "aws")]
        if call.aws
            && let Some(error) = self.means_to_aws(status, headers, call)
        {
            return error;
        }
        match status {
            300..=399 => AskError::Redirected { endpoint, status },
            401 | 403 => AskError::KeyRefused { endpoint, status },
            _ if self.about_money(status) => {
                AskError::SpendLimit { endpoint, status, code: quote::short(&self.code, call.secret) }
            }
            _ if self.about_context(status) => AskError::ContextExceeded { model: call.model.to_owned() },
            404 | 410 if self.spoken => {
                AskError::ModelGone { endpoint, model: call.model.to_owned(), said, available: Vec::new() }
            }
            404 | 410 => AskError::WrongAddress { endpoint, path: call.path.to_owned() },
            429 => {
                let retry_after = retry::asked_to_wait(headers, jiff::Timestamp::now());
                AskError::RateLimited { endpoint, status, retry_after, said }
            }
            408 | 409 | 500.. => AskError::Overloaded { endpoint, status, said },
            _ => AskError::Rejected { endpoint, status, param: quote::short(&self.param, call.secret), said },
        }
    }
}

#[cfg(feature = "aws")]
impl Complaint {
    /// What its word for it means, where the status alone would mislead.
    fn means_to_aws(&self, status: u16, headers: &HeaderMap, call: &Called<'_>) -> Option<AskError> {
        let endpoint = call.endpoint.to_owned();
        let said = quote::short(&self.message, call.secret);
        if let Some(why) = AwsTrouble::of(&self.code, &self.message) {
            return Some(AskError::NotLetIn { endpoint, why });
        }
        match self.code.as_str() {
            // with a key it may as well be the key that is wrong: AWS says the same
            "AccessDenied" | "AccessDeniedException" | "NotAuthorized" if call.secret.is_some() => {
                Some(AskError::KeyRefused { endpoint, status })
            }
            // the account has not been given the model, or not yet
            "AccessDenied"
            | "AccessDeniedException"
            | "NotAuthorized"
            | "OptInRequired"
            | "FTUFormNotFilled"
            | "MPAgreementBeingCreated" => {
                Some(AskError::NotAllowed { endpoint, code: self.code.clone(), model: call.model.to_owned() })
            }
            "ServiceQuotaExceededException" | "ThrottlingException" => {
                let retry_after = retry::asked_to_wait(headers, jiff::Timestamp::now());
                Some(AskError::RateLimited { endpoint, status, retry_after, said })
            }
            "ModelErrorException" | "ModelNotReadyException" | "ModelTimeoutException" => {
                Some(AskError::Overloaded { endpoint, status, said })
            }
            "UnknownOperationException" => {
                Some(AskError::WrongAddress { endpoint, path: call.path.to_owned() })
            }
            _ => None,
        }
    }
}

/// What was called, for the words of an error.
pub(crate) struct Called<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) path: &'a str,
    pub(crate) model: &'a str,
    pub(crate) secret: Option<&'a str>,
    /// Is it a service of AWS? What stands behind its gateways may be anything.
    #[cfg(feature = "aws")]
    pub(crate) aws: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use coroner_diagnosis::FailureKind;

    #[test]
    fn each_refusal_has_its_kind() {
        let call = Called {
            endpoint: "h:1",
            path: "/v1/messages",
            model: "m",
            secret: Some("topsecret"),
            #[cfg(feature = "aws")]
            aws: false,
        };
        for (status, body, kind, word) in [
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"topsecret"}}"#,
                FailureKind::Unauthorized,
                "401",
            ),
            (
                403,
                r#"{"error":{"type":"permission_error","message":"no"}}"#,
                FailureKind::Unauthorized,
                "403",
            ),
            (402, r#"{"error":{"type":"billing_error","message":"pay"}}"#, FailureKind::OverBudget, "402"),
            (
                400,
                r#"{"error":{"type":"billing_error","message":"credit"}}"#,
                FailureKind::OverBudget,
                "bill",
            ),
            (
                429,
                r#"{"error":{"type":"rate_limit_error","message":"slow topsecret","details":{"error_code":"ramp_limit_exceeded"}}}"#,
                FailureKind::RateLimited,
                "“slow [key]”",
            ),
            (
                429,
                r#"{"error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
                FailureKind::OverBudget,
                "enforced_spend_limit_reached",
            ),
            (
                429,
                r#"{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
                FailureKind::OverBudget,
                "spending limit",
            ),
            (429, "", FailureKind::RateLimited, "429"),
            (
                404,
                r#"{"error":{"type":"not_found_error","message":"model: m"}}"#,
                FailureKind::Unreachable,
                "no model `m`",
            ),
            (404, r#"{"error":"model 'm' not found"}"#, FailureKind::Unreachable, "no model `m`"),
            (
                404,
                r#"{"object":"error","message":"The model does not exist.","type":"NotFoundError","code":404}"#,
                FailureKind::Unreachable,
                "no model `m`",
            ),
            // somebody's gateway, which is AWS's
            (
                403,
                r#"{"__type":"MissingAuthenticationTokenException","message":"no"}"#,
                FailureKind::Unauthorized,
                "refused the key",
            ),
            (404, "<html>404</html>", FailureKind::Unreachable, "does not serve /v1/messages"),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","message":"bad schema"}}"#,
                FailureKind::Unreadable,
                "bad schema",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"big","type":"exceed_context_size_error"}}"#,
                FailureKind::OverBudget,
                "context",
            ),
            (413, "", FailureKind::OverBudget, "context"),
            (500, "<html>oops</html>", FailureKind::Overloaded, "HTTP 500)"),
            (
                529,
                r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                FailureKind::Overloaded,
                "529",
            ),
            (307, "", FailureKind::Unreachable, "redirects"),
        ] {
            let error =
                Complaint::read(body.as_bytes(), &HeaderMap::new()).means(status, &HeaderMap::new(), &call);
            assert_eq!(error.kind(), kind, "{status} {body}");
            let text = error.to_string();
            assert!(text.contains(word) && !text.contains("topsecret"), "{status}: {text}");
        }
    }
}
