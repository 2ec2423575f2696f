//! The arguments of `coroner user` and `coroner token`.

use clap::{Args, Subcommand};
use coroner_store::{Role, TokenScope};

/// Say who may log in to the desk.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add somebody. The password is asked for; without a terminal, it is the first line of standard input.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is a user of that name already
  2  wrong use, or a password that will not do
  3  the store failed

Example:
  coroner user add ada --role admin")]
    Add {
        /// What they log in with.
        name: String,
        /// viewer looks; admin also changes. Default: admin for the first user, viewer for the others.
        #[arg(long, value_parser = super::role())]
        role: Option<Role>,
    },
    /// List everybody who may log in.
    #[command(after_help = "\
Exit status:
  0  done
  2  wrong use
  3  the store failed

Example:
  coroner user list")]
    List,
    /// Remove somebody; their sessions end.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no such user
  2  wrong use
  3  the store failed

Example:
  coroner user remove ada")]
    Remove {
        /// Whom.
        name: String,
    },
    /// Give somebody another password; their sessions end.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no such user
  2  wrong use, or a password that will not do
  3  the store failed

Example:
  coroner user password ada")]
    Password {
        /// Whose.
        name: String,
    },
    /// Ask somebody for a code of an authenticator program too, and print the secret that the program takes in.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no such user
  2  wrong use
  3  the store failed

Example:
  coroner user second-factor ada")]
    SecondFactor {
        /// Whom.
        name: String,
        /// Ask for no code any more.
        #[arg(long)]
        off: bool,
    },
}

/// Say which programs may use the desk.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it. It is shown this once: only its hash is kept.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is or was a token of that name
  2  wrong use
  3  the store failed

Example:
  coroner token add gpu-07 --scope report")]
    Add {
        /// What people call it.
        name: String,
        /// report: report experiments and nothing else; read: look at everything; admin: everything.
        #[arg(long, default_value = "report", value_parser = super::scope())]
        scope: TokenScope,
    },
    /// List all tokens, with when they were last used.
    #[command(after_help = "\
Exit status:
  0  done
  2  wrong use
  3  the store failed

Example:
  coroner token list")]
    List,
    /// Revoke a token, at once and for good.
    #[command(after_help = "\
Exit status:
  0  done
  1  there is no valid token of that name
  2  wrong use
  3  the store failed

Example:
  coroner token revoke gpu-07")]
    Revoke {
        /// Which.
        name: String,
    },
}
