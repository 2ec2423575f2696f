//! The providers behind one face.

use std::sync::Arc;

use coroner_diagnosis::Question;

use crate::answer::Answer;
use crate::anthropic::Anthropic;
#[cfg(feature = "aws")]
use crate::bedrock::Bedrock;
use crate::catalogue::ModelInfo;
use crate::endpoint::{Deadline, Failed};
use crate::failure::AskError;
use crate::key::Credential;
use crate::openai::OpenAiCompatible;
use crate::scripted::Scripted;

/// Who is asked.
#[derive(Debug, Clone)]
pub enum Model {
    /// Anthropic's Messages API.
    Anthropic(Arc<Anthropic>),
    /// `/v1/chat/completions`: Ollama, vLLM, llama.cpp and others.
    OpenAiCompatible(Arc<OpenAiCompatible>),
    /// Anthropic's models on Amazon Bedrock.
    #[cfg(feature = "aws")]
    Bedrock(Arc<Bedrock>),
    /// Canned replies.
    Scripted(Arc<Scripted>),
}

/// What was heard of the configured model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// The provider has it (or had it: see its lifecycle).
    Listed(ModelInfo),
    /// It does not.
    Gone,
    /// The provider answers, and does not tell what it has.
    #[cfg(feature = "aws")]
    Untold,
}

impl Model {
    /// The model that was configured.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Anthropic(a) => a.model(),
            Self::OpenAiCompatible(o) => o.model(),
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => b.model(),
            Self::Scripted(s) => s.model(),
        }
    }

    /// Which kind of provider.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Anthropic(_) => "anthropic",
            Self::OpenAiCompatible(_) => "openai-compatible",
            #[cfg(feature = "aws")]
            Self::Bedrock(_) => "bedrock",
            Self::Scripted(_) => "scripted",
        }
    }

    /// `host:port` of the provider.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        match self {
            Self::Anthropic(a) => a.endpoint().shown(),
            Self::OpenAiCompatible(o) => o.endpoint().shown(),
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => b.endpoint().shown(),
            Self::Scripted(_) => "this process",
        }
    }

    pub(crate) fn credential(&self) -> &Credential {
        match self {
            Self::Anthropic(a) => a.endpoint().credential(),
            Self::OpenAiCompatible(o) => o.endpoint().credential(),
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => b.endpoint().credential(),
            Self::Scripted(_) => &Credential::NotNeeded,
        }
    }

    pub(crate) fn in_the_clear(&self) -> bool {
        match self {
            Self::Anthropic(a) => a.endpoint().in_the_clear(),
            Self::OpenAiCompatible(o) => o.endpoint().in_the_clear(),
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => b.endpoint().in_the_clear(),
            Self::Scripted(_) => false,
        }
    }

    /// Puts `question` to `model` once.
    pub(crate) async fn ask(
        &self,
        model: &str,
        question: &Question,
        deadline: Deadline,
    ) -> Result<Answer, Failed> {
        match self {
            Self::Anthropic(a) => a.ask(model, question, deadline).await,
            Self::OpenAiCompatible(o) => o.ask(model, question, deadline).await,
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => b.ask(model, question, deadline).await,
            Self::Scripted(s) => s.ask(question).await,
        }
    }

    /// The models that the provider has; none where it does not tell.
    pub(crate) async fn list(&self, deadline: Deadline) -> Result<Vec<ModelInfo>, AskError> {
        let listed = match self {
            Self::Anthropic(a) => a.list(deadline).await,
            Self::OpenAiCompatible(o) => o.list(deadline).await,
            #[cfg(feature = "aws")]
            Self::Bedrock(_) => Ok(Vec::new()),
            Self::Scripted(s) => Ok(s.models()),
        };
        listed.map_err(|failed| failed.error)
    }

    /// What the provider tells of `model`.
    pub(crate) async fn look_up(&self, model: &str, deadline: Deadline) -> Result<Known, AskError> {
        match self {
            Self::Anthropic(a) => a.look_up(model, deadline).await.map_err(|failed| failed.error),
            #[cfg(feature = "aws")]
            Self::Bedrock(b) => {
                b.reach(deadline).await.map(|()| Known::Untold).map_err(|failed| failed.error)
            }
            // not every server has a page for one model
            Self::OpenAiCompatible(_) | Self::Scripted(_) => {
                let models = self.list(deadline).await?;
                Ok(models.into_iter().find(|m| m.id == model).map_or(Known::Gone, Known::Listed))
            }
        }
    }
}

impl From<Anthropic> for Model {
    fn from(provider: Anthropic) -> Self {
        Self::Anthropic(Arc::new(provider))
    }
}

impl From<OpenAiCompatible> for Model {
    fn from(provider: OpenAiCompatible) -> Self {
        Self::OpenAiCompatible(Arc::new(provider))
    }
}

#[cfg(feature = "aws")]
impl From<Bedrock> for Model {
    fn from(provider: Bedrock) -> Self {
        Self::Bedrock(Arc::new(provider))
    }
}

impl From<Arc<Scripted>> for Model {
    /// Shared, so that whoever wrote the script can look at what was asked.
    fn from(provider: Arc<Scripted>) -> Self {
        Self::Scripted(provider)
    }
}
