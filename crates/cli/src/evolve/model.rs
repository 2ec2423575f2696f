//! Candidates from the configured language model.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use coroner_diagnosis::{Counts, FailureKind, Question, Redactor};
use coroner_lab::propose::{
    Brief, PROPOSAL_VERSION, Prompt, Proposal, Proposer, ProposerError, prompt, read_reply,
};
use coroner_llm::Asker;
use coroner_store::{Cost, Store};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::analyst;
use crate::context::{Context, Failed};

/// Asks for whole programs.
pub(super) struct ModelProposer {
    asker: Asker,
    redactor: Redactor,
}

impl ModelProposer {
    pub(super) fn new(context: &Context, store: &Store, runtime: &Arc<Runtime>) -> Result<Self, Failed> {
        let asker = analyst::program_asker(context, Some(store), runtime)?.ok_or_else(|| {
            Failed::Input(anyhow!(
                "there is no model to ask for candidates: set a key (`coroner doctor` says which), or leave out \
                 --proposer model for the built-in search"
            ))
        })?;
        Ok(Self { asker, redactor: Redactor::new(context.env.secrets()) })
    }
}

#[async_trait]
impl Proposer for ModelProposer {
    fn name(&self) -> String {
        format!("model {}", self.asker.model().name())
    }

    async fn propose(&self, brief: &Brief) -> Result<Proposal, ProposerError> {
        let Prompt { system, user } = prompt(brief);
        let user = self.redactor.redact(&user, &mut Counts::new());
        // the same question again, after we were killed in between, has been paid for already
        let hash: String = Sha256::digest(&user).iter().map(|byte| format!("{byte:02x}")).collect();
        let question = Question {
            system,
            prompt: user,
            schema: Value::Null,
            prompt_version: PROPOSAL_VERSION,
            signature: format!("program:{hash}"),
        };
        let reply = match self.asker.ask(&question).await {
            Ok(reply) => reply,
            Err(failure) if failure.kind == FailureKind::OverBudget => {
                return Err(ProposerError::OverBudget(failure.detail));
            }
            Err(failure) => {
                let why = failure.detail;
                return Err(ProposerError::Unusable { why, reply: String::new(), cost: Cost::default() });
            }
        };
        let cost = Cost {
            dollars: if reply.cached { 0.0 } else { reply.cost_usd.unwrap_or(0.0) },
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        };
        match read_reply(&reply.text) {
            Ok((code, change)) => Ok(Proposal { code, change, from: Vec::new(), edits: Vec::new(), cost }),
            Err(why) => Err(ProposerError::Unusable { why, reply: reply.text, cost }),
        }
    }
}
