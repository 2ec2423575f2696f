//! Asks a model: providers, retries, budget, scripted replies.
//!
//! [`Asker`] is the front: a [`Question`](coroner_diagnosis::Question) goes in, a
//! [`Reply`](coroner_diagnosis::Reply) or the reason why there is none comes out, in time, whatever the
//! provider does. Behind it stands one [`Model`]; what was answered and spent is kept in a [`Ledger`].
//! What the reply says is none of this crate's business: it is read and checked in `coroner-diagnosis`.

mod answer;
mod anthropic;
mod asker;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod bedrock;
mod breaker;
mod catalogue;
mod complaint;
mod endpoint;
mod failure;
mod key;
mod ledger;
mod model;
mod openai;
mod prices;
mod probe;
mod quote;
mod retry;
mod scripted;
#[cfg(feature = "aws")]
mod secret;

pub use answer::{Answer, Ending, Usage};
pub use anthropic::{ANTHROPIC_URL, Anthropic, CHEAP_MODEL, DEFAULT_MODEL};
pub use asker::{Asker, Limits};
#[cfg(feature = "aws")]
pub use aws::{AwsTrouble, Signer};
#[cfg(feature = "aws")]
pub use bedrock::Bedrock;
pub use catalogue::{Lifecycle, ModelInfo};
pub use failure::{AskError, Stage};
pub use key::{ApiKey, Credential, FetchKey, KeyError, KeySource, LoadedKey, RenewedKey};
pub use ledger::{Ledger, LedgerError, MemoryLedger, ReplyKey, Spent};
pub use model::Model;
pub use openai::OpenAiCompatible;
pub use prices::{Price, PriceError, Prices};
pub use probe::{KeyState, Probe};
pub use retry::Advice;
pub use scripted::{ScriptError, Scripted, Step};
/// What a key is handed over in; see [`KeySource::Env`].
pub use secrecy::SecretString;
#[cfg(feature = "aws")]
pub use secret::{Secret, SecretTrouble};
