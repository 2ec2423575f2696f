//! Users, sessions and tokens.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Trouble;
use crate::copy::Person;
use crate::{Credentials, Role, Silenced, Token, TokenHash, TokenScope, User, UserChange};

/// A token that is used all the time is noted once in this many milliseconds.
const USE_NOTED: i64 = 60_000;

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn role(word: &str) -> Role {
    word.parse().unwrap_or(Role::Viewer)
}

pub(super) fn add(
    conn: &Connection,
    name: &str,
    role: Role,
    password: &str,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let added = conn
        .prepare_cached(
            "INSERT OR IGNORE INTO users (name, role, password, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![name, role.as_str(), password, now.as_millisecond()])?;
    Ok(added == 1)
}

pub(super) fn all(conn: &Connection) -> Result<Vec<User>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT name, role, totp IS NOT NULL, created_at, disabled_at FROM users WHERE name > '' ORDER BY name LIMIT 1000",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(User {
            name: row.get(0)?,
            role: role(&row.get::<_, String>(1)?),
            second_factor: row.get(2)?,
            created_at: time(row.get(3)?),
            disabled_at: row.get::<_, Option<i64>>(4)?.map(time),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn credentials(conn: &Connection, name: &str) -> Result<Option<Credentials>, Trouble> {
    let sql = "SELECT password, role, totp, disabled_at IS NOT NULL FROM users WHERE name = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_row([name], |row| {
        Ok(Credentials {
            password: row.get(0)?,
            role: role(&row.get::<_, String>(1)?),
            totp: row.get(2)?,
            disabled: row.get(3)?,
        })
    });
    Ok(found.optional()?)
}

pub(super) fn remove(conn: &Connection, name: &str) -> Result<bool, Trouble> {
    end_sessions(conn, name)?;
    Ok(conn.prepare_cached("DELETE FROM users WHERE name = ?1")?.execute([name])? == 1)
}

/// What somebody may do from now on: a role, or nothing for the time being. Their sessions go on with another role, and end
/// where they may not sign in.
pub(super) fn change(
    conn: &Connection,
    name: &str,
    new_role: Option<Role>,
    disabled: Option<bool>,
    now: Timestamp,
) -> Result<UserChange, Trouble> {
    let all = all(conn)?;
    let Some(user) = all.iter().find(|user| user.name == name) else { return Ok(UserChange::Nobody) };
    let admin = |user: &User| user.role == Role::Admin && user.disabled_at.is_none();
    let loses = new_role.is_some_and(|role| role != Role::Admin) || disabled == Some(true);
    if loses && admin(user) && !all.iter().any(|other| other.name != name && admin(other)) {
        return Ok(UserChange::LastAdmin);
    }
    if let Some(role) = new_role {
        let sql = "UPDATE users SET role = ?2 WHERE name = ?1";
        conn.prepare_cached(sql)?.execute(params![name, role.as_str()])?;
    }
    if let Some(disabled) = disabled {
        let at = disabled.then(|| now.as_millisecond());
        let sql = "UPDATE users SET disabled_at = ?2 WHERE name = ?1";
        conn.prepare_cached(sql)?.execute(params![name, at])?;
        if disabled {
            end_sessions(conn, name)?;
        }
    }
    Ok(UserChange::Done)
}

/// Everybody, with what their word is held against: for a copy.
pub(super) fn whole(conn: &Connection) -> Result<Vec<Person>, Trouble> {
    let mut people = Vec::new();
    for user in all(conn)? {
        if let Some(it) = credentials(conn, &user.name)? {
            people.push(Person { user, password: it.password, totp: it.totp });
        }
    }
    Ok(people)
}

pub(super) fn silence(
    conn: &Connection,
    rule: &str,
    by: Option<&str>,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let changed = match by {
        Some(by) => conn
            .prepare_cached("INSERT OR IGNORE INTO silenced (rule, by, at) VALUES (?1, ?2, ?3)")?
            .execute(params![rule, by, now.as_millisecond()])?,
        None => conn.prepare_cached("DELETE FROM silenced WHERE rule = ?1")?.execute([rule])?,
    };
    Ok(changed == 1)
}

pub(super) fn silenced(conn: &Connection) -> Result<Vec<Silenced>, Trouble> {
    let sql = "SELECT rule, by, at FROM silenced WHERE rule > '' ORDER BY rule LIMIT 10000";
    let mut statement = conn.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok(Silenced { rule: row.get(0)?, by: row.get(1)?, at: time(row.get(2)?) });
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

pub(super) fn set_password(conn: &Connection, name: &str, password: &str) -> Result<bool, Trouble> {
    end_sessions(conn, name)?;
    let sql = "UPDATE users SET password = ?2 WHERE name = ?1";
    Ok(conn.prepare_cached(sql)?.execute([name, password])? == 1)
}

pub(super) fn set_totp(conn: &Connection, name: &str, secret: Option<&[u8]>) -> Result<bool, Trouble> {
    let sql = "UPDATE users SET totp = ?2, totp_step = 0 WHERE name = ?1";
    Ok(conn.prepare_cached(sql)?.execute(params![name, secret])? == 1)
}

pub(super) fn use_totp(conn: &Connection, name: &str, step: i64) -> Result<bool, Trouble> {
    let sql = "UPDATE users SET totp_step = ?2 WHERE name = ?1 AND totp_step < ?2";
    Ok(conn.prepare_cached(sql)?.execute(params![name, step])? == 1)
}

fn end_sessions(conn: &Connection, name: &str) -> Result<(), Trouble> {
    conn.prepare_cached("DELETE FROM sessions WHERE user = ?1")?.execute([name])?;
    Ok(())
}

pub(super) fn begin_session(
    conn: &Connection,
    hash: &TokenHash,
    user: &str,
    now: Timestamp,
    ends: Timestamp,
) -> Result<(), Trouble> {
    conn.prepare_cached("DELETE FROM sessions WHERE expires_at < ?1")?.execute([now.as_millisecond()])?;
    conn.prepare_cached("INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3)")?.execute(params![
        hash,
        user,
        ends.as_millisecond()
    ])?;
    Ok(())
}

pub(super) fn session(
    conn: &Connection,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<(String, Role)>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT u.name, u.role FROM sessions s JOIN users u ON u.name = s.user
         WHERE s.hash = ?1 AND s.expires_at >= ?2 AND u.disabled_at IS NULL",
    )?;
    let found = statement.query_row(params![hash, now.as_millisecond()], |row| {
        Ok((row.get(0)?, role(&row.get::<_, String>(1)?)))
    });
    Ok(found.optional()?)
}

pub(super) fn end_session(conn: &Connection, hash: &TokenHash) -> Result<(), Trouble> {
    conn.prepare_cached("DELETE FROM sessions WHERE hash = ?1")?.execute([hash])?;
    Ok(())
}

const COLUMNS: &str = "SELECT id, name, scope, created_by, created_at, last_used, revoked_at FROM tokens";

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        // a word of a later release may do as little as there is
        scope: row.get::<_, String>(2)?.parse().unwrap_or(TokenScope::Report),
        created_by: row.get(3)?,
        created_at: time(row.get(4)?),
        last_used: row.get::<_, Option<i64>>(5)?.map(time),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(time),
    })
}

pub(super) fn add_token(
    conn: &Connection,
    name: &str,
    scope: TokenScope,
    hash: &TokenHash,
    by: &str,
    now: Timestamp,
) -> Result<Option<Token>, Trouble> {
    let added = conn
        .prepare_cached(
            "INSERT OR IGNORE INTO tokens (name, hash, scope, created_by, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![name, hash, scope.as_str(), by, now.as_millisecond()])?;
    if added == 0 {
        return Ok(None);
    }
    token(conn, hash)
}

pub(super) fn tokens(conn: &Connection) -> Result<Vec<Token>, Trouble> {
    let mut statement = conn.prepare_cached(&format!("{COLUMNS} WHERE id > 0 ORDER BY id LIMIT 1000"))?;
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// Every one, with its hash: for a copy.
pub(super) fn hashed_tokens(conn: &Connection) -> Result<Vec<(Token, TokenHash)>, Trouble> {
    let mut hashed = Vec::new();
    for token in tokens(conn)? {
        let hash = conn
            .prepare_cached("SELECT hash FROM tokens WHERE id = ?1")?
            .query_row([token.id], |row| row.get(0))?;
        hashed.push((token, hash));
    }
    Ok(hashed)
}

pub(super) fn token(conn: &Connection, hash: &TokenHash) -> Result<Option<Token>, Trouble> {
    let mut statement = conn.prepare_cached(&format!("{COLUMNS} WHERE hash = ?1 AND revoked_at IS NULL"))?;
    Ok(statement.query_row([hash], read).optional()?)
}

pub(super) fn token_used(conn: &Connection, id: i64, now: Timestamp) -> Result<(), Trouble> {
    let now = now.as_millisecond();
    conn.prepare_cached("UPDATE tokens SET last_used = ?2 WHERE id = ?1 AND ifnull(last_used, 0) < ?3")?
        .execute(params![id, now, now - USE_NOTED])?;
    Ok(())
}

pub(super) fn revoke(conn: &Connection, name: &str, now: Timestamp) -> Result<bool, Trouble> {
    let sql = "UPDATE tokens SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL";
    Ok(conn.prepare_cached(sql)?.execute(params![name, now.as_millisecond()])? == 1)
}
