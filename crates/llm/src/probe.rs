//! What `coroner doctor` wants to know: is the provider there, does it take the key, has it the model, for how long.

use serde::Serialize;

use coroner_diagnosis::{FailureKind, ModelFailure};

use crate::catalogue::{self, Lifecycle, ModelInfo};
use crate::endpoint::Deadline;
use crate::failure::AskError;
use crate::key::Credential;
use crate::model::{Known, Model};
use crate::prices::{Price, Prices};

/// How it stands with the configured model. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// `anthropic`, `openai-compatible`, `bedrock` or `scripted`.
    pub provider: &'static str,
    /// `host:port`.
    pub endpoint: String,
    /// The configured model.
    pub model: String,
    /// How it stands with the key.
    pub key: KeyState,
    /// Somebody answered at the address, be it with a refusal.
    pub reachable: bool,
    /// What the provider tells of the model; absent if it does not have it or did not tell.
    pub info: Option<ModelInfo>,
    /// The model that would be used instead, if the configured one is gone.
    pub replacement: Option<String>,
    /// Its price, where known.
    pub price: Option<Price>,
    /// Why it would not work, if it would not.
    pub failure: Option<ModelFailure>,
    /// What works and still deserves a look.
    pub warnings: Vec<String>,
}

/// How it stands with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// None is needed.
    NotNeeded,
    /// One is needed and there is none.
    Missing,
    /// The provider took it.
    Accepted,
    /// The provider refused it.
    Refused,
    /// There is one, but nobody could be asked about it.
    Unchecked,
}

pub(crate) async fn probe(model: &Model, prices: &Prices, deadline: Deadline) -> Probe {
    let name = model.name();
    let mut probe = Probe {
        provider: model.provider(),
        endpoint: model.endpoint().to_owned(),
        model: name.to_owned(),
        key: KeyState::Unchecked,
        reachable: false,
        info: None,
        replacement: None,
        price: prices.of(name),
        failure: None,
        warnings: Vec::new(),
    };
    if model.in_the_clear() {
        probe.warnings.push(format!("the key travels in the clear to {}: use https", model.endpoint()));
    }
    if let Credential::Missing(error) = model.credential() {
        probe.key = KeyState::Missing;
        probe.failure = Some(AskError::NoKey(error.clone()).into());
        return probe;
    }
    let outcome = model.look_up(name, deadline).await;
    probe.reachable = outcome.as_ref().err().is_none_or(was_answered);
    probe.key = key_state(model, &outcome);
    match outcome {
        Ok(Known::Listed(info)) if info.answers() => probe.take(info),
        #[cfg(feature = "aws")]
        Ok(Known::Untold) => probe.warnings.push(format!(
            "{} does not say which models it has: whether {name} is there, and may be asked, shows with the first question",
            model.endpoint()
        )),
        Ok(known) => {
            let models = model.list(deadline).await.unwrap_or_default();
            probe.replacement = catalogue::replacement(name, &models).map(|m| m.id.clone());
            if let Known::Listed(info) = known {
                probe.take(info);
            }
            probe.gone(models);
        }
        Err(error) => probe.failure = Some(error.into()),
    }
    probe
}

impl Probe {
    fn take(&mut self, info: ModelInfo) {
        let when = info.retires_at.as_deref().map(|at| at.chars().take(10).collect::<String>());
        if info.lifecycle == Some(Lifecycle::Deprecated) {
            let when = when.map(|at| format!(" and retires on {at}")).unwrap_or_default();
            self.warnings.push(format!("{} is deprecated{when}: choose a newer one", info.id));
        }
        if info.structured_output == Some(false) {
            self.warnings
                .push(format!("{} does not answer by a schema, so its replies may not be readable", info.id));
        }
        self.info = Some(info);
    }

    /// A stand-in is no failure, but worth a word; without one there is nobody to ask.
    fn gone(&mut self, models: Vec<ModelInfo>) {
        match &self.replacement {
            Some(newer) => self.warnings.push(format!("{} is gone; {newer} is used instead", self.model)),
            None => {
                let error = AskError::ModelGone {
                    endpoint: self.endpoint.clone(),
                    model: self.model.clone(),
                    said: String::new(),
                    available: models.into_iter().map(|m| m.id).collect(),
                };
                self.failure = Some(error.into());
            }
        }
    }
}

fn key_state(model: &Model, outcome: &Result<Known, AskError>) -> KeyState {
    match (model.credential(), outcome) {
        (Credential::NotNeeded, Err(error)) if error.kind() == FailureKind::Unauthorized => KeyState::Missing,
        (Credential::NotNeeded, _) => KeyState::NotNeeded,
        (Credential::Missing(_), _) => KeyState::Missing,
        // whoever answers without telling has not looked at it
        #[cfg(feature = "aws")]
        (_, Ok(Known::Untold)) => KeyState::Unchecked,
        (_, Ok(_)) => KeyState::Accepted,
        (_, Err(error)) => match error.kind() {
            FailureKind::NoKey => KeyState::Missing,
            FailureKind::Unauthorized => KeyState::Refused,
            FailureKind::RateLimited | FailureKind::OverBudget => KeyState::Accepted,
            _ => KeyState::Unchecked,
        },
    }
}

/// Did anybody at the address say anything?
fn was_answered(error: &AskError) -> bool {
    !matches!(
        error,
        AskError::NoKey(_)
            | AskError::BadAddress { .. }
            | AskError::Unreachable { .. }
            | AskError::Tls { .. }
            | AskError::TimedOut { .. }
    )
}
