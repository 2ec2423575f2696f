//! Users, sessions and tokens. A session is somebody's as long as it is of their time: another password or being switched off
//! begins a new time.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Key, n, number, s, text};
use super::plan::{Plan, When, alone, bounded, key};
use crate::copy::Person;
use crate::{Credentials, Error, Role, TableTrouble, Token, TokenHash, TokenScope, User, UserChange};

/// A token that is used all the time is noted once in this many milliseconds.
const USE_NOTED: i64 = 60_000;
/// So often a change is made anew when others change the same.
const TRIES: u32 = 30;
/// So many users and tokens are listed.
const LISTED: usize = 1000;

fn user_key(name: &str) -> Key {
    key("US", alone(name))
}

fn session_key(hash: &TokenHash) -> Key {
    key(format!("SE#{}", hexadecimal(hash)), "-")
}

/// Where the number of a token stands, by its hash and by its name.
fn hash_key(hash: &TokenHash) -> Key {
    key(format!("TH#{}", hexadecimal(hash)), "-")
}

fn token_name_key(name: &str) -> Key {
    key(format!("TN#{}", bounded(name)), "-")
}

fn token_key(id: i64) -> Key {
    key("TK", format!("{id:020}"))
}

fn hexadecimal(hash: &TokenHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(item, name)?).ok()
}

fn role(item: &Item) -> Role {
    text(item, "role").and_then(|word| word.parse().ok()).unwrap_or(Role::Viewer)
}

fn user(item: &Item) -> Option<User> {
    Some(User {
        name: text(item, "name")?.to_owned(),
        role: role(item),
        second_factor: item.contains_key("totp"),
        created_at: time(item, "created").unwrap_or_default(),
        disabled_at: time(item, "disabled"),
    })
}

fn token(item: &Item) -> Option<Token> {
    Some(Token {
        id: text(item, "sk")?.parse().ok()?,
        name: text(item, "name")?.to_owned(),
        // a word of a later release may do as little as there is
        scope: text(item, "scope").and_then(|word| word.parse().ok()).unwrap_or(TokenScope::Report),
        created_by: text(item, "by")?.to_owned(),
        created_at: time(item, "created").unwrap_or_default(),
        last_used: time(item, "used"),
        revoked_at: time(item, "revoked"),
    })
}

/// Somebody with what their word is held against, for a copy.
pub(super) fn person(item: &Item) -> Option<Person> {
    let totp = item.get("totp").and_then(|it| it.as_b().ok()).map(|blob| blob.as_ref().to_vec());
    Some(Person { user: user(item)?, password: text(item, "password")?.to_owned(), totp })
}

/// Where somebody stands who is new here.
pub(super) fn place_of(person: &Person) -> (Key, Item) {
    let user = &person.user;
    let mut item = Item::from([
        ("name".to_owned(), s(&user.name)),
        ("role".to_owned(), s(user.role.as_str())),
        ("password".to_owned(), s(&person.password)),
        ("created".to_owned(), n(user.created_at.as_millisecond())),
        ("time".to_owned(), new_time()),
        ("v".to_owned(), n(1)),
    ]);
    item.extend(user.disabled_at.map(|at| ("disabled".to_owned(), n(at.as_millisecond()))));
    item.extend(person.totp.clone().map(|secret| ("totp".to_owned(), AttributeValue::B(secret.into()))));
    (user_key(&user.name), item)
}

/// A token with its hash, for a copy.
pub(super) fn hashed(item: &Item) -> Option<(Token, TokenHash)> {
    let hex = text(item, "hash")?;
    let byte = |i: usize| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok();
    let mut hash = [0; 32];
    for (i, place) in hash.iter_mut().enumerate() {
        *place = byte(i)?;
    }
    Some((token(item)?, hash))
}

/// Where a token stands, and what leads to it.
pub(super) fn places(it: &Token, hash: &TokenHash) -> [(Key, Item); 3] {
    let leads = || Item::from([("id".to_owned(), n(it.id))]);
    let mut item = Item::from([
        ("name".to_owned(), s(&it.name)),
        ("hash".to_owned(), s(hexadecimal(hash))),
        ("scope".to_owned(), s(it.scope.as_str())),
        ("by".to_owned(), s(&it.created_by)),
        ("created".to_owned(), n(it.created_at.as_millisecond())),
    ]);
    item.extend(it.last_used.map(|at| ("used".to_owned(), n(at.as_millisecond()))));
    item.extend(it.revoked_at.map(|at| ("revoked".to_owned(), n(at.as_millisecond()))));
    [(token_name_key(&it.name), leads()), (hash_key(hash), leads()), (token_key(it.id), item)]
}

/// A time that no session is of yet.
fn new_time() -> AttributeValue {
    s(uuid::Uuid::now_v7().to_string())
}

impl Dynamo {
    pub(super) async fn user_added(
        &self,
        name: &str,
        role: Role,
        password: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut plan = Plan::default();
        let user =
            User { name: name.to_owned(), role, second_factor: false, created_at: now, disabled_at: None };
        let (place, item) = place_of(&Person { user, password: password.to_owned(), totp: None });
        plan.put(place, item, When::Absent);
        self.write(plan).await
    }

    pub(super) async fn all_users(&self) -> Result<Vec<User>, Error> {
        let items = self.table.query(Ask::table("US").first(LISTED)).await?;
        Ok(items.iter().filter_map(user).collect())
    }

    pub(super) async fn word_of(&self, name: &str) -> Result<Option<Credentials>, Error> {
        let place = user_key(name);
        let item = self.table.get(place.0, place.1).await?;
        Ok(item.map(|item| Credentials {
            password: text(&item, "password").unwrap_or_default().to_owned(),
            role: role(&item),
            totp: item.get("totp").and_then(|it| it.as_b().ok()).map(|blob| blob.as_ref().to_vec()),
            disabled: item.contains_key("disabled"),
        }))
    }

    /// Changes somebody's item, with what else is written; nothing if there is nobody of that name or `change` says so.
    async fn change_person(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Item, &mut Plan) -> bool,
    ) -> Result<bool, Error> {
        let place = user_key(name);
        for _ in 0..TRIES {
            let Some(mut item) = self.table.get(&place.0, &place.1).await? else { return Ok(false) };
            let (version, mut plan) = (number::<u64>(&item, "v").unwrap_or_default(), Plan::default());
            if !change(&mut item, &mut plan) {
                return Ok(false);
            }
            item.insert("v".to_owned(), n(version + 1));
            plan.put(place.clone(), item, When::Is("v", n(version)));
            if self.write(plan).await? {
                return Ok(true);
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// What somebody may do from now on: a role, or nothing for the time being. Their sessions go on with another role, and
    /// end where they may not sign in.
    pub(super) async fn user_changed(
        &self,
        name: &str,
        new_role: Option<Role>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<UserChange, Error> {
        let admins = key("#", "admins");
        for _ in 0..TRIES {
            // two admins who switch each other off at the same moment: one of them is too late
            let seen = self.table.get(&admins.0, &admins.1).await?;
            let seen = seen.and_then(|item| number::<u64>(&item, "value"));
            let all = self.all_users().await?;
            let Some(user) = all.iter().find(|user| user.name == name) else {
                return Ok(UserChange::Nobody);
            };
            let admin = |user: &User| user.role == Role::Admin && user.disabled_at.is_none();
            let loses = new_role.is_some_and(|role| role != Role::Admin) || disabled == Some(true);
            if loses && admin(user) && !all.iter().any(|other| other.name != name && admin(other)) {
                return Ok(UserChange::LastAdmin);
            }
            let place = user_key(name);
            let Some(mut item) = self.table.get(&place.0, &place.1).await? else { continue };
            let version: u64 = number(&item, "v").unwrap_or_default();
            if let Some(role) = new_role {
                item.insert("role".to_owned(), s(role.as_str()));
            }
            match disabled {
                Some(true) => {
                    item.insert("disabled".to_owned(), n(now.as_millisecond()));
                    item.insert("time".to_owned(), new_time());
                }
                Some(false) => _ = item.remove("disabled"),
                None => {}
            }
            item.insert("v".to_owned(), n(version + 1));
            let mut plan = Plan::default();
            plan.put(place, item, When::Is("v", n(version)));
            let counted = Item::from([("value".to_owned(), n(seen.unwrap_or_default() + 1))]);
            let when = seen.map_or(When::Absent, |seen| When::Is("value", n(seen)));
            plan.put(admins.clone(), counted, when);
            if self.write(plan).await? {
                return Ok(UserChange::Done);
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    pub(super) async fn user_removed(&self, name: &str) -> Result<bool, Error> {
        let mut plan = Plan::default();
        plan.delete(user_key(name), When::Present);
        self.write(plan).await
    }

    pub(super) async fn password_set(&self, name: &str, password: &str) -> Result<bool, Error> {
        let change = |item: &mut Item, _: &mut Plan| {
            item.insert("password".to_owned(), s(password));
            item.insert("time".to_owned(), new_time());
            true
        };
        self.change_person(name, change).await
    }

    pub(super) async fn totp_set(&self, name: &str, secret: Option<Vec<u8>>) -> Result<bool, Error> {
        let change = |item: &mut Item, _: &mut Plan| {
            item.remove("step");
            match &secret {
                Some(secret) => {
                    _ = item.insert("totp".to_owned(), AttributeValue::B(secret.clone().into()));
                }
                None => _ = item.remove("totp"),
            }
            true
        };
        self.change_person(name, change).await
    }

    /// No code counts twice.
    pub(super) async fn totp_used(&self, name: &str, step: i64) -> Result<bool, Error> {
        let change = |item: &mut Item, _: &mut Plan| {
            let last: i64 = number(item, "step").unwrap_or_default();
            item.insert("step".to_owned(), n(step));
            last < step
        };
        self.change_person(name, change).await
    }

    pub(super) async fn session_begun(
        &self,
        hash: &TokenHash,
        name: &str,
        ends: Timestamp,
    ) -> Result<(), Error> {
        let person = user_key(name);
        let user = self.table.get(person.0, person.1).await?;
        let time = user.and_then(|item| item.get("time").cloned()).unwrap_or_else(|| s("-"));
        let place = session_key(hash);
        let item = [
            ("pk", s(place.0)),
            ("sk", s(place.1)),
            ("user", s(name)),
            ("time", time),
            ("ends", n(ends.as_millisecond())),
            ("ttl", n(ends.as_second() + 1)),
        ];
        self.table.put(item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).await
    }

    pub(super) async fn session_of(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<(String, Role)>, Error> {
        let place = session_key(hash);
        let Some(session) = self.table.get(place.0, place.1).await? else { return Ok(None) };
        let Some(name) = text(&session, "user") else { return Ok(None) };
        let person = user_key(name);
        let Some(user) = self.table.get(person.0, person.1).await? else { return Ok(None) };
        let holds = number::<i64>(&session, "ends").is_some_and(|ends| ends >= now.as_millisecond())
            && session.get("time") == user.get("time")
            && !user.contains_key("disabled");
        Ok(holds.then(|| (name.to_owned(), role(&user))))
    }

    pub(super) async fn session_ended(&self, hash: &TokenHash) -> Result<(), Error> {
        let place = session_key(hash);
        self.table.delete(place.0, place.1).await
    }

    pub(super) async fn token_added(
        &self,
        name: &str,
        scope: TokenScope,
        hash: &TokenHash,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        let id = i64::try_from(self.next("token").await?).unwrap_or(i64::MAX);
        let mut plan = Plan::default();
        let it = Token {
            id,
            name: name.to_owned(),
            scope,
            created_by: by.to_owned(),
            created_at: now,
            last_used: None,
            revoked_at: None,
        };
        for (place, item) in places(&it, hash) {
            plan.put(place, item, When::Absent);
        }
        match self.write(plan).await? {
            true => self.token_of(hash).await,
            false => Ok(None),
        }
    }

    pub(super) async fn all_tokens(&self) -> Result<Vec<Token>, Error> {
        let items = self.table.query(Ask::table("TK").first(LISTED)).await?;
        Ok(items.iter().filter_map(token).collect())
    }

    async fn token_at(&self, place: Key) -> Result<Option<Token>, Error> {
        let Some(leads) = self.table.get(place.0, place.1).await? else { return Ok(None) };
        let place = token_key(number(&leads, "id").unwrap_or_default());
        let item = self.table.get(place.0, place.1).await?;
        Ok(item.as_ref().and_then(token).filter(|it| it.revoked_at.is_none()))
    }

    pub(super) async fn token_of(&self, hash: &TokenHash) -> Result<Option<Token>, Error> {
        self.token_at(hash_key(hash)).await
    }

    pub(super) async fn token_noted(&self, id: i64, now: Timestamp) -> Result<(), Error> {
        let place = token_key(id);
        let Some(item) = self.table.get(&place.0, &place.1).await? else { return Ok(()) };
        let last: i64 = number(&item, "used").unwrap_or_default();
        if last >= now.as_millisecond() - USE_NOTED {
            return Ok(());
        }
        let mut plan = Plan::default();
        plan.set(place.clone(), "used", n(now.as_millisecond()));
        plan.only_when(place, When::Present);
        // another has noted it, or it is gone: either will do
        self.write(plan).await.map(drop)
    }

    pub(super) async fn token_revoked(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        let Some(token) = self.token_at(token_name_key(name)).await? else { return Ok(false) };
        let (place, mut plan) = (token_key(token.id), Plan::default());
        plan.set(place.clone(), "revoked", n(now.as_millisecond()));
        plan.only_when(place, When::Present);
        self.write(plan).await
    }
}
