//! What people do with the forms of the pages, as a browser without a script sends them.

use coroner_server::{Settings, hash_password};
use coroner_store::Role;
use jiff::Timestamp;
use serde_json::json;

use crate::page::NASTY;
use crate::rig::{Answer, Rig};

/// Somebody who has signed in.
struct Person<'a> {
    rig: &'a Rig,
    cookie: String,
    csrf: String,
}

async fn rig() -> Rig {
    let rig = Rig::with(Settings { auth: true, ..Settings::default() }).await;
    let hash = hash_password("correct horse").unwrap();
    for (name, role) in [("ada", Role::Admin), ("vic", Role::Viewer)] {
        assert!(rig.store.add_user(name, role, &hash, Timestamp::now()).await.unwrap());
    }
    rig
}

async fn signed_in<'a>(rig: &'a Rig, name: &str) -> Person<'a> {
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let body = format!("username={name}&password=correct+horse");
    let answer = rig.call("POST", "/login", form, body.as_bytes()).await;
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut person = Person { rig, cookie, csrf: String::new() };
    // every page that may be changed has the session's mark in its forms
    let page = person.get("/experiments").await.text();
    if let Some((_, rest)) = page.split_once("name=\"csrf\" value=\"") {
        person.csrf = rest.split('"').next().unwrap().to_owned();
    }
    person
}

impl Person<'_> {
    async fn get(&self, path: &str) -> Answer {
        let headers = format!("accept: text/html\r\ncookie: {}\r\n", self.cookie);
        self.rig.call("GET", path, &headers, b"").await
    }

    /// The mark that the forms of this page carry.
    async fn looks_at(&mut self, path: &str) -> Answer {
        let page = self.get(path).await;
        let text = page.text();
        let (_, rest) =
            text.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no form: {page}"));
        self.csrf = rest.split('"').next().unwrap().to_owned();
        page
    }

    async fn send(&self, action: &str, fields: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("csrf", &self.csrf).extend_pairs(fields);
        let headers = format!(
            "accept: text/html\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\n\
             content-type: application/x-www-form-urlencoded\r\n",
            self.cookie
        );
        self.rig.call("POST", action, &headers, body.finish().as_bytes()).await
    }
}

fn went_back(answer: &Answer, place: &str) {
    assert_eq!((answer.status, answer.header("location")), (303, Some(place)), "{answer}");
}

/// The page again, with what was wrong and what was typed.
fn shown_again(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{answer}");
    assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{answer}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for part in ["role=\"alert\"", "coroner-page"].iter().chain(parts) {
        assert!(answer.text().contains(part), "{part}: {answer}");
    }
}

#[tokio::test]
pub(crate) async fn people_are_added_changed_and_switched_off() {
    let rig = rig().await;
    let mut ada = signed_in(&rig, "ada").await;
    ada.looks_at("/settings").await;
    let back = ("back", "/settings");
    let short = [back, ("name", "bob"), ("password", "short"), ("role", "admin")];
    let again = ada.send("/api/v1/users", &short).await;
    shown_again(&again, 400, &["value=\"bob\"", "value=\"admin\" selected"]);
    assert!(!again.text().contains("value=\"short\""), "a password is not said again");
    let taken = [back, ("name", "vic"), ("password", "long enough"), ("role", "viewer")];
    shown_again(&ada.send("/api/v1/users", &taken).await, 409, &["there is a user `vic` already"]);
    let new = [back, ("name", "bob @x"), ("password", "long enough"), ("role", "viewer")];
    went_back(&ada.send("/api/v1/users", &new).await, "/settings");
    went_back(&ada.send("/api/v1/users/bob%20%40x", &[back, ("role", "admin")]).await, "/settings");
    let users = rig.store.users().await.unwrap();
    assert_eq!((users[1].name.as_str(), users[1].role), ("bob @x", Role::Admin));
    went_back(&ada.send("/api/v1/users/bob%20%40x/remove", &[back]).await, "/settings");
    // the last admin stays, in every way
    for (action, field) in [("", ("role", "viewer")), ("", ("disabled", "true")), ("/remove", back)] {
        let refused = ada.send(&format!("/api/v1/users/ada{action}"), &[back, field]).await;
        shown_again(&refused, 409, &["no admin could sign in", "open"]);
    }
    // whoever is switched off is out at once, and comes in again when that is undone
    let vic = signed_in(&rig, "vic").await;
    assert_eq!(vic.get("/experiments").await.status, 200);
    went_back(&ada.send("/api/v1/users/vic", &[back, ("disabled", "true")]).await, "/settings");
    assert_eq!(vic.get("/experiments").await.header("location"), Some("/login?next=/experiments"));
    let login = json!({"username": "vic", "password": "correct horse"});
    assert_eq!(rig.post("/admin/login", &login).await.json()["error"], "Invalid credentials");
    assert!(ada.get("/settings").await.text().contains("may not sign in"));
    went_back(&ada.send("/api/v1/users/vic", &[back, ("disabled", "false")]).await, "/settings");
    assert_eq!(rig.post("/admin/login", &login).await.json()["success"], true);
    went_back(
        &ada.send("/api/v1/users/vic/password", &[back, ("password", "another one")]).await,
        "/settings",
    );
    assert_eq!(rig.post("/admin/login", &login).await.json()["success"], false);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_token_is_told_once() {
    let rig = rig().await;
    let mut ada = signed_in(&rig, "ada").await;
    ada.looks_at("/settings").await;
    let back = ("back", "/settings");
    let nameless = ada.send("/api/v1/tokens", &[back, ("name", "<b>\""), ("scope", "read")]).await;
    shown_again(&nameless, 400, &["value=\"&#60;b&#62;&#34;\"", "value=\"read\" selected"]);
    let made = ada.send("/api/v1/tokens", &[back, ("name", "gpu-07"), ("scope", "report")]).await;
    assert_eq!((made.status, made.header("cache-control")), (200, Some("no-store")), "{made}");
    let text = made.text();
    let token = &text[text.find("coroner_").unwrap()..];
    let token = token.split('<').next().unwrap();
    assert!(made.header("location").is_none());
    assert!(!ada.get("/settings").await.text().contains(token), "it is told once");
    let reports = async || {
        let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        rig.call("POST", "/api/v1/failures", &headers, b"{\"error_message\": \"MemoryError\"}").await.status
    };
    assert_eq!(reports().await, 201);
    assert!(!ada.get("/settings").await.text().contains(">never<"), "last used is told");
    went_back(&ada.send("/api/v1/tokens/gpu-07/revoke", &[back]).await, "/settings");
    assert_eq!(reports().await, 401);
    rig.end().await;
}

#[tokio::test]
async fn nobody_else_can_send_them_and_nothing_else_is_shown() {
    let rig = rig().await;
    let mut vic = signed_in(&rig, "vic").await;
    let new = [("back", "/settings"), ("name", "eve"), ("password", "long enough"), ("role", "admin")];
    // refused, and not by showing them the page that they may not see
    let refused = vic.send("/api/v1/users", &new).await;
    assert_eq!(refused.status, 403, "{refused}");
    assert!(!refused.text().contains("Add somebody"), "{refused}");
    let mut ada = signed_in(&rig, "ada").await;
    ada.looks_at("/settings").await;
    ada.csrf = "of another session".into();
    shown_again(&ada.send("/api/v1/users", &new).await, 403, &["not of your session"]);
    // a way back that leads elsewhere is none
    for place in ["https://evil.example", "//evil.example", "/\\evil.example"] {
        let answer = ada.send("/api/v1/users", &[("back", place), ("name", "eve")]).await;
        assert!(answer.status == 403 && answer.header("location").is_none(), "{answer}");
    }
    assert_eq!(rig.store.users().await.unwrap().len(), 2);
    // far too much of it
    let much = "x".repeat(300_000);
    let answer = ada.send("/api/v1/users", &[("back", "/settings"), ("name", &much)]).await;
    assert_eq!(answer.status, 413, "{answer}");
    // somebody who may look votes, and corrects nothing
    rig.store.set_password("vic", &hash_password("correct horse").unwrap()).await.unwrap();
    vic = signed_in(&rig, "vic").await;
    let number =
        crate::page::failed(&rig, Some("a"), &["x"], b"boom\n", crate::rig::diagnosis("MemoryError")).await;
    let place = format!("/experiments/{number}/analysis");
    let page = vic.looks_at(&place).await;
    assert!(!page.text().contains("Correct it"));
    went_back(
        &vic.send("/api/v1/experiments/a~1/vote", &[("back", &place), ("helpful", "false")]).await,
        &place,
    );
    let correction = [("back", place.as_str()), ("severity", "low")];
    assert_eq!(vic.send("/api/v1/experiments/a~1/correction", &correction).await.status, 403);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn groups_are_corrected_looked_at_again_joined_and_split() {
    let rig = rig().await;
    let mut ada = signed_in(&rig, "ada").await;
    for (i, error) in ["CUDA out of memory", "CUDA out of memory", "KeyError: 'lr'"].iter().enumerate() {
        let mut found = crate::rig::diagnosis(error);
        found.root_cause = format!("{} on host-{}", found.root_cause, i);
        crate::page::failed(&rig, Some(&format!("e{i}")), &["x"], b"boom\n", found).await;
    }
    let signature = async |id: &str| rig.store.get(id).await.unwrap().diagnosis.unwrap().signature;
    let (first, other) = (signature("e0").await, signature("e2").await);
    assert_eq!(first, signature("e1").await);
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let (place, api) =
        (format!("/groups/{}", encoded(&first)), format!("/api/v1/groups/{}", encoded(&first)));
    let back = ("back", place.as_str());
    ada.looks_at(&place).await;

    // corrected: what is wrong keeps what was typed
    let empty = ada.send(&format!("{api}/correction"), &[back]).await;
    shown_again(&empty, 400, &["at least one thing", " open><summary>Correct it"]);
    let long = "ä".repeat(4001);
    let typed = [back, ("origin", "infrastructure"), ("root_cause", &long)];
    let too_long = ada.send(&format!("{api}/correction"), &typed).await;
    shown_again(&too_long, 400, &["4,000", &long, "value=\"infrastructure\" selected"]);
    let typed = [back, ("origin", "infrastructure"), ("root_cause", NASTY)];
    went_back(&ada.send(&format!("{api}/correction"), &typed).await, &place);
    let page = ada.get(&place).await.text();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    // what would change is shown before it is decided, and nothing has changed by looking
    let correction = rig.store.corrections(Some(&first)).await.unwrap()[0].id;
    let page = ada.get(&format!("{place}?replay={correction}")).await.text();
    assert!(page.contains("2 failures would say otherwise") && page.contains("→ infrastructure"), "{page}");
    let origin = async |id: &str| rig.store.get(id).await.unwrap().diagnosis.unwrap().origin.to_string();
    assert_ne!(origin("e0").await, "infrastructure");
    went_back(&ada.send(&format!("/api/v1/corrections/{correction}/replay"), &[back]).await, &place);
    assert_eq!(origin("e0").await, "infrastructure");
    let page = ada.get(&format!("{place}?replay={correction}")).await.text();
    assert!(page.contains("say it already"), "{page}");
    went_back(&ada.send(&format!("/api/v1/corrections/{correction}/take-back"), &[back]).await, &place);
    assert_ne!(origin("e0").await, "infrastructure");
    assert!(ada.get(&place).await.text().contains("no longer in force"));
    assert_eq!(ada.get(&format!("{place}?replay={}", correction + 1)).await.status, 404);

    // muted for a day, assigned
    went_back(&ada.send(&api, &[back, ("do", "mute"), ("until", "2099-01-01T00:00:00Z")]).await, &place);
    assert!(ada.get(&place).await.text().contains("muted by ada"));
    went_back(&ada.send(&api, &[back, ("do", "assign"), ("assignee", NASTY)]).await, &place);
    let name = "n".repeat(101);
    shown_again(&ada.send(&api, &[back, ("do", "assign"), ("assignee", &name)]).await, 400, &[&name]);

    // joined, and taken out again
    let unknown = ada.send(&format!("{api}/join"), &[back, ("into", "v1:none")]).await;
    shown_again(&unknown, 404, &["value=\"v1:none\""]);
    went_back(&ada.send(&format!("{api}/join"), &[back, ("into", &other)]).await, &place);
    let joined = ada.get(&format!("/groups/{}", encoded(&other))).await.text();
    assert!(joined.contains(&format!("{api}/part")) && joined.contains("<dd>3</dd>"), "{joined}");
    went_back(&ada.send(&format!("{api}/part"), &[back]).await, &place);
    assert_eq!(rig.store.group(&first, Timestamp::now()).await.unwrap().unwrap().count, 2);

    // split: what would move is shown, then it is done
    let page = ada.get(&format!("{place}?words=host-1")).await.text();
    assert!(page.contains("1 failure has") && page.contains("name=\"words\" value=\"host-1\""), "{page}");
    shown_again(&ada.send(&format!("{api}/split"), &[back, ("words", "ho")]).await, 400, &["3 to 200"]);
    went_back(&ada.send(&format!("{api}/split"), &[back, ("words", "host-1")]).await, &place);
    assert_ne!(signature("e1").await, first);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_rule_is_switched_off_and_on() {
    let rig = rig().await;
    let mut ada = signed_in(&rig, "ada").await;
    let report = async |id: &str| {
        let token = coroner_server::new_token().unwrap();
        let hash = coroner_server::token_hash(&token);
        let scope = coroner_store::TokenScope::Report;
        rig.store.add_token(id, scope, hash, "ada", Timestamp::now()).await.unwrap();
        let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        let body = json!({"experiment_id": id, "logs": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.\n"});
        let answer = rig.call("POST", "/api/v1/failures", &headers, body.to_string().as_bytes()).await;
        answer.json()["diagnosis"]["provenance"]["rule"].as_str().unwrap().to_owned()
    };
    let rule = report("before").await;
    let place = format!("/rules/{rule}");
    let back = ("back", place.as_str());
    ada.looks_at(&place).await;
    went_back(&ada.send(&format!("/api/v1/rules/{rule}/disable"), &[back]).await, &place);
    assert!(ada.get(&place).await.text().contains("ada switched it off"));
    assert!(ada.get("/rules?state=off").await.text().contains(&rule));
    assert_ne!(report("while").await, rule, "it speaks no more");
    let listed = ada.get("/api/v1/rules").await.json();
    let listed =
        listed["rules"].as_array().unwrap().iter().find(|it| it["id"] == rule.as_str()).unwrap().clone();
    assert_eq!((listed["enabled"].as_bool(), listed["disabled_by"].as_str()), (Some(false), Some("ada")));
    went_back(&ada.send(&format!("/api/v1/rules/{rule}/enable"), &[back]).await, &place);
    assert_eq!(report("after").await, rule);
    let unknown = ada.send("/api/v1/rules/no.such/disable", &[back]).await;
    assert_eq!(unknown.status, 404, "{unknown}");
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn an_answer_that_is_kept_is_for_who_asked() {
    let rig = rig().await;
    let failure = |id: &str| coroner_store::SavedFailure {
        id: Some(id.to_owned()),
        experiment_type: String::new(),
        at: Timestamp::now(),
        command: coroner_store::CommandLine::default(),
        exit: None,
        reason: None,
        diagnosis: crate::rig::diagnosis("MemoryError"),
        log: None,
    };
    let saved = rig.store.save_diagnoses(vec![failure("first")]).await.unwrap();
    let analysis = format!("/experiments/{}/analysis", saved[0].id.number());
    let mut people =
        [signed_in(&rig, "ada").await, signed_in(&rig, "vic").await, signed_in(&rig, "ada").await];
    for person in &mut people {
        person.looks_at(&analysis).await;
    }
    // the second time nothing is asked of the store
    for path in ["/", "/experiments", "/groups", "/statistics", &analysis].repeat(2) {
        for (i, person) in people.iter().enumerate() {
            let page = person.get(path).await.text();
            assert_eq!(page.contains(">vic<"), i == 1, "{path}: whose name?");
            let marks: Vec<_> = people.iter().map(|it| page.contains(&it.csrf)).collect();
            let own: Vec<_> = (0..people.len()).map(|n| n == i && path == analysis).collect();
            assert_eq!(marks, own, "{path}: whose mark?");
        }
    }
    let listed = || async { people[1].get("/experiments").await.text().contains("quite-new") };
    assert!(!listed().await);
    rig.store.save_diagnoses(vec![failure("quite-new")]).await.unwrap();
    assert!(listed().await, "what is written makes what was kept old");
    rig.end().await;
}
