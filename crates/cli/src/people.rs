//! `coroner user` and `coroner token`: who may use the desk.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::anyhow;
use coroner_store::Role;
use jiff::Timestamp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;

use crate::args::{Format, TokenArgs, TokenCommand, UserArgs, UserCommand};
use crate::context::{Context, DONE, Failed, REPORTED, complain};

pub(crate) fn user(args: &UserArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let done = match &args.command {
        UserCommand::Add { name, role } => {
            let first = runtime.block_on(store.users())?.is_empty();
            let role = role.unwrap_or(if first { Role::Admin } else { Role::Viewer });
            name_fits(name)?;
            let hash = hashed(name)?;
            match runtime.block_on(store.add_user(name, role, &hash, Timestamp::now()))? {
                true => said(context, &format!("{name} may log in ({role})")),
                false => reported(&format!("there is a user `{name}` already")),
            }
        }
        UserCommand::List => {
            let users = runtime.block_on(store.users())?;
            if context.format == Format::Json {
                context.print_json(&users)?;
                return Ok(DONE);
            }
            let lines = users.iter().map(|user| {
                let factor = match (user.disabled_at, user.second_factor) {
                    (Some(at), _) => format!("may not sign in since {}", at.strftime("%Y-%m-%d")),
                    (None, true) => "with a second factor".to_owned(),
                    (None, false) => String::new(),
                };
                format!("{:<24} {:<8} {factor}", user.name, user.role).trim_end().to_owned() + "\n"
            });
            context.print(&lines.collect::<String>())?;
            Ok(DONE)
        }
        UserCommand::Remove { name } => match runtime.block_on(store.remove_user(name))? {
            true => said(context, &format!("{name} may no longer log in")),
            false => reported(&format!("there is no user `{name}`")),
        },
        UserCommand::Password { name } => {
            let hash = hashed(name)?;
            match runtime.block_on(store.set_password(name, &hash))? {
                true => said(context, &format!("{name} has another password; all sessions of {name} ended")),
                false => reported(&format!("there is no user `{name}`")),
            }
        }
        UserCommand::SecondFactor { name, off } => {
            let secret = coroner_server::new_totp_secret().map_err(anyhow::Error::new)?;
            let kept = (!off).then(|| secret.clone());
            if !runtime.block_on(store.set_totp(name, kept))? {
                return reported(&format!("there is no user `{name}`"));
            }
            match off {
                true => said(context, &format!("{name} is asked for no code any more")),
                false => {
                    context.print(&(coroner_server::totp_uri(name, &secret) + "\n"))?;
                    said(context, "give this to an authenticator program; it is shown this once")
                }
            }
        }
    };
    runtime.block_on(store.close())?;
    done
}

pub(crate) fn token(args: &TokenArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let done = match &args.command {
        TokenCommand::Add { name, scope } => {
            name_fits(name)?;
            let token = coroner_server::new_token().map_err(anyhow::Error::new)?;
            let hash = coroner_server::token_hash(&token);
            let by = context.env.text("USER").unwrap_or("command line").to_owned();
            let kept = runtime.block_on(store.add_token(name, *scope, hash, &by, Timestamp::now()))?;
            match (kept, context.format) {
                (None, _) => reported(&format!("there is or was a token `{name}`; give another name")),
                (Some(_), Format::Json) => {
                    context.print_json(&json!({"token": token, "name": name, "scope": scope}))?;
                    Ok(DONE)
                }
                (Some(_), Format::Text) => {
                    context.print(&(token + "\n"))?;
                    said(context, "keep it: it is shown this once")
                }
            }
        }
        TokenCommand::List => {
            let tokens = runtime.block_on(store.tokens())?;
            if context.format == Format::Json {
                context.print_json(&tokens)?;
                return Ok(DONE);
            }
            let lines = tokens.iter().map(|token| {
                let used = match (token.revoked_at, token.last_used) {
                    (Some(at), _) => format!("revoked {}", at.strftime("%Y-%m-%d")),
                    (None, Some(at)) => format!("last used {}", at.strftime("%Y-%m-%d %H:%M UTC")),
                    (None, None) => "never used".to_owned(),
                };
                format!("{:<24} {:<8} {used}\n", token.name, token.scope)
            });
            context.print(&lines.collect::<String>())?;
            Ok(DONE)
        }
        TokenCommand::Revoke { name } => {
            match runtime.block_on(store.revoke_token(name, Timestamp::now()))? {
                true => said(context, &format!("the token {name} is revoked")),
                false => reported(&format!("there is no valid token `{name}`")),
            }
        }
    };
    runtime.block_on(store.close())?;
    done
}

fn said(context: &Context, text: &str) -> Result<u8, Failed> {
    context.note(text);
    Ok(DONE)
}

fn reported(text: &str) -> Result<u8, Failed> {
    complain(text);
    Ok(REPORTED)
}

fn name_fits(name: &str) -> Result<(), Failed> {
    let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.@+ ".contains(c));
    if plain && (1..=64).contains(&name.len()) && name.trim() == name {
        return Ok(());
    }
    Err(Failed::Input(anyhow!("a name has 1 to 64 letters, digits or any of - _ . @ +")))
}

/// The hash of a password that is asked for.
fn hashed(name: &str) -> Result<String, Failed> {
    let password = match std::io::stdin().is_terminal() {
        false => line()?,
        true => {
            let first = asked(&format!("Password of {name}: "))?;
            if asked("Once more: ")? != first {
                return Err(Failed::Input(anyhow!(
                    "these were two different passwords; nothing was changed"
                )));
            }
            first
        }
    };
    coroner_server::hash_password(&password).map_err(|e| Failed::Input(anyhow!(e)))
}

fn line() -> Result<String, Failed> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| anyhow!("can't read a password: {e}"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A line from the terminal that is not shown there.
fn asked(prompt: &str) -> Result<String, Failed> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|e| anyhow!("can't hide the password: {e}"))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)
        .map_err(|e| anyhow!("can't hide the password: {e}"))?;
    _ = write!(std::io::stderr(), "{prompt}");
    let read = line();
    _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    _ = writeln!(std::io::stderr());
    read
}
