//! Anthropic's models on Amazon Bedrock: the same question and answer as Anthropic's own, by `InvokeModel`.
//!
//! Not `Converse`, which is one shape for the models of all makers: it would be a second way to say what `anthropic` says
//! already (the schema, the effort, why an answer ended), and what it adds can be had: models of other makers speak OpenAI's
//! language on the same host, to the provider `openai` with a key of Bedrock. Nor `/anthropic/v1/messages` on that host: Anthropic's
//! manual sends everything up to Opus 4.6 to `InvokeModel`, which has the later ones too, and whether a schema is taken there AWS
//! does not say. For `InvokeModel` it does (docs.aws.amazon.com, "Get validated JSON results from models"; November 2026).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_types::SdkConfig;
use coroner_diagnosis::Question;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::answer::Answer;
use crate::anthropic;
use crate::aws::Signer;
use crate::endpoint::{Auth, Call, Deadline, Endpoint, Failed, not_an_answer};
use crate::failure::AskError;
use crate::key::{Credential, KeyError};

/// What AWS leaves as it is in an address: ids have colons in them, and ARNs slashes too.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The version of the body, the only one that there is.
const BODY_VERSION: &str = "bedrock-2023-05-31";
/// Where the body says in which form, and with what effort, to answer.
const CONFIG: &str = "output_config";

/// Anthropic's models, asked through AWS.
#[derive(Debug)]
pub struct Bedrock {
    endpoint: Endpoint,
    model: String,
    /// This model takes neither a schema nor an effort: it is told of the schema in words.
    plain: AtomicBool,
}

impl Bedrock {
    /// `model` is the id of a model or of an inference profile, or the ARN of one. Without `base` it is asked where AWS has it in
    /// the configured region; without a key of Bedrock, requests are signed with the credentials of `aws`.
    #[must_use]
    pub fn new(base: Option<&str>, model: &str, aws: SdkConfig, key: Option<Credential>) -> Self {
        let signer = Signer::new(aws, "bedrock");
        // a key is no signature, and so says nothing of a region
        let region = signer.region().map(drop).or_else(|trouble| key.as_ref().map(drop).ok_or(trouble));
        let place = base.map_or_else(|| signer.place("bedrock-runtime"), |base| Ok(base.to_owned()));
        let (base, credential) = match (region.and(place), key) {
            (Ok(base), Some(key)) => (base, key),
            (Ok(base), None) => (base, Credential::Signed(Arc::new(signer))),
            (Err(trouble), _) => (String::new(), Credential::Missing(KeyError::Aws(trouble))),
        };
        Self {
            endpoint: Endpoint::new(&base, Auth::Aws, &[], credential),
            model: model.to_owned(),
            plain: AtomicBool::new(false),
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
        let plain = self.plain.load(Ordering::Relaxed);
        let (max_tokens, body) = request(model, question, plain);
        let mut answer = self.send(model, &body, deadline).await;
        // which of its models know `output_config`, AWS does not tell in advance
        if matches!(&answer, Err(Failed { error: AskError::Rejected { .. }, .. }))
            && body.get(CONFIG).is_some()
        {
            let (_, body) = request(model, question, true);
            let again = self.send(model, &body, deadline).await;
            // if that was not it, what was said of the request as it should be says more
            if !matches!(&again, Err(Failed { error: AskError::Rejected { .. }, .. })) {
                self.plain.fetch_or(again.is_ok(), Ordering::Relaxed);
                answer = again;
            }
        }
        let answer = anthropic::read(answer?, max_tokens)
            .map_err(|what| not_an_answer(self.endpoint.shown(), what))?;
        // it names itself as Anthropic does; what was asked says more, such as where it is and so what it costs
        Ok(Answer { model: model.to_owned(), ..answer })
    }

    async fn send(&self, model: &str, body: &Value, deadline: Deadline) -> Result<Value, Failed> {
        let path = format!("/model/{}/invoke", utf8_percent_encode(model, PLAIN));
        self.endpoint.send(Call { path: &path, body: Some(body), model }, deadline).await
    }

    /// Does anybody answer there, and take the credentials? Of its models AWS tells at another address, to whoever has other
    /// rights, and not in one place for models and profiles: that is left to the first question.
    pub(crate) async fn reach(&self, deadline: Deadline) -> Result<(), Failed> {
        match self.endpoint.send(Call { path: "/", body: None, model: &self.model }, deadline).await {
            Ok(_) => Ok(()),
            Err(Failed { error: AskError::WrongAddress { .. } | AskError::ModelGone { .. }, .. }) => Ok(()),
            Err(Failed { error: AskError::Rejected { .. } | AskError::NotAnAnswer { .. }, .. }) => Ok(()),
            Err(failed) => Err(failed),
        }
    }
}

/// Anthropic's body, in which the version stands for the model.
fn request(model: &str, question: &Question, plain: bool) -> (u32, Value) {
    let (max_tokens, mut body) = anthropic::request(model, question);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("model");
        fields.insert("anthropic_version".to_owned(), BODY_VERSION.into());
        if plain && fields.remove(CONFIG).is_some() && !question.schema.is_null() {
            let system = format!(
                "{}\nIt has to fit this JSON schema, and nothing may stand around it:\n{}",
                question.system, question.schema
            );
            fields.insert("system".to_owned(), system.into());
        }
    }
    (max_tokens, body)
}
