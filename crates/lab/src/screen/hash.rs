//! The hash by which the same code is known again: of its tokens, without comments and white space.

use std::fmt;

use ruff_python_ast::ModModule;
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::Parsed;
use ruff_text_size::Ranged;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a candidate's tokens, in hexadecimal; of its bytes where it can't be read as Python.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeHash(String);

impl CodeHash {
    /// The hash as it is stored: 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a source that is no Python.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"bytes\0");
        hash.update(bytes);
        Self::done(hash)
    }

    fn done(hash: Sha256) -> Self {
        Self(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash of the tokens, or none if something in the source is no token.
///
/// What is hashed is text from the source and marks of our own, nothing that the parser numbers: a new version of it
/// must not make old candidates unknown.
pub(super) fn of_tokens(text: &str, parsed: &Parsed<ModModule>) -> Option<CodeHash> {
    let mut hash = Sha256::new();
    hash.update(b"tokens\0");
    let mut add = |text: &str| {
        hash.update((text.len() as u32).to_le_bytes());
        hash.update(text);
    };
    // an f-string counts letter for letter: in f"{a = }" even the spaces are part of the result
    let mut formatted: Option<(usize, usize)> = None;
    for token in parsed.tokens() {
        let (start, end) = (token.start().to_usize(), token.end().to_usize());
        match (token.kind(), &mut formatted) {
            (TokenKind::Unknown, _) => return None,
            (TokenKind::FStringStart | TokenKind::TStringStart, None) => formatted = Some((start, 1)),
            (TokenKind::FStringStart | TokenKind::TStringStart, Some((_, depth))) => *depth += 1,
            (TokenKind::FStringEnd | TokenKind::TStringEnd, Some((from, depth))) => {
                *depth -= 1;
                if *depth == 0 {
                    add(text.get(*from..end)?);
                    formatted = None;
                }
            }
            (_, Some(_))
            | (TokenKind::Comment | TokenKind::NonLogicalNewline | TokenKind::EndOfFile, None) => {}
            (TokenKind::Newline, None) => add("\n"),
            (TokenKind::Indent, None) => add("\n>"),
            (TokenKind::Dedent, None) => add("\n<"),
            (_, None) => add(text.get(start..end)?),
        }
    }
    // an f-string that does not end
    formatted.is_none().then(|| CodeHash::done(hash))
}
