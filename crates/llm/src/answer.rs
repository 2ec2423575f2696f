//! What came back from a provider, before it is decided whether it counts.

use crate::failure::AskError;

/// One answer of a model, in the words of no provider in particular.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Everything that the model said as text; its thinking is left out.
    pub text: String,
    /// The model that answered, as it named itself.
    pub model: String,
    /// Why it stopped.
    pub ending: Ending,
    /// What it read and wrote; paid for, whether the answer counts or not.
    pub usage: Usage,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It had said all that it wanted to say.
    Whole,
    /// It reached this many tokens, our own cap.
    CutOff {
        /// The cap that it was asked with.
        max_tokens: u32,
    },
    /// It declined; the provider's word for why, if it gave one.
    Refused {
        /// Such as `cyber` or `frontier_llm`.
        category: Option<String>,
    },
    /// Question and answer together do not fit into its context.
    ContextExceeded,
}

/// Tokens of one answer, thinking included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

impl Answer {
    /// The text, letter for letter, if the answer came to its end and holds any.
    pub(crate) fn into_text(self) -> Result<String, AskError> {
        match self.ending {
            Ending::CutOff { max_tokens } => Err(AskError::CutOff { model: self.model, max_tokens }),
            Ending::Refused { category } => Err(AskError::Refused { model: self.model, category }),
            Ending::ContextExceeded => Err(AskError::ContextExceeded { model: self.model }),
            Ending::Whole if self.text.trim().is_empty() => Err(AskError::Empty { model: self.model }),
            Ending::Whole => Ok(self.text),
        }
    }
}
