//! Who may look at the desk, and which programs may report to it.

use coroner_diagnosis::UnknownWord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// SHA-256 of a token. The token itself is nowhere.
pub type TokenHash = [u8; 32];

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The spelling.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { text: text.to_owned(), expected: &[$($word),+] }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What a person may do.
    Role {
        /// Look at everything.
        Viewer = "viewer",
        /// And change it.
        Admin = "admin",
    }
}
words! {
    /// What a program with a token may do.
    TokenScope {
        /// Report experiments, and nothing else.
        Report = "report",
        /// Look at everything.
        Read = "read",
        /// Everything.
        Admin = "admin",
    }
}

/// Somebody who may look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// What they log in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Is a second factor asked for?
    pub second_factor: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when they may not sign in, if they may not.
    pub disabled_at: Option<Timestamp>,
}

/// What somebody's word is held against. Not shown to anybody.
#[derive(Clone)]
pub struct Credentials {
    /// A PHC string.
    pub password: String,
    /// What they may do.
    pub role: Role,
    /// The second factor's secret, where there is one.
    pub totp: Option<Vec<u8>>,
    /// They may not sign in for the time being.
    pub disabled: bool,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("role", &self.role).finish_non_exhaustive()
    }
}

/// A rule that somebody has switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silenced {
    /// Its id.
    pub rule: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What became of a change to somebody who may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChange {
    /// It was made.
    Done,
    /// There is nobody of that name.
    Nobody,
    /// Without them nobody could change anything any more: nothing was changed.
    LastAdmin,
}

/// A program that may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scope: TokenScope,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}
