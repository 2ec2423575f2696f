//! Who may do what: tokens, sessions, the original's login, and what other sites can't do.

use coroner_server::{Settings, hash_password, new_token, token_hash};
use coroner_store::{Role, TokenScope};
use jiff::Timestamp;
use serde_json::json;

use crate::rig::{Answer, Rig};

/// A desk that asks, with a user of each role and a token of each scope (named like it).
async fn asking() -> (Rig, [String; 3]) {
    let rig = Rig::with(Settings { auth: true, ..Settings::default() }).await;
    let now = Timestamp::now();
    let hash = hash_password("correct horse").unwrap();
    rig.store.add_user("ada", Role::Admin, &hash, now).await.unwrap();
    rig.store.add_user("vic", Role::Viewer, &hash, now).await.unwrap();
    let mut tokens = [const { String::new() }; 3];
    for (token, scope) in tokens.iter_mut().zip(TokenScope::ALL) {
        *token = new_token().unwrap();
        let kept = rig.store.add_token(scope.as_str(), *scope, token_hash(token), "test", now).await.unwrap();
        assert!(kept.is_some());
    }
    (rig, tokens)
}

async fn with(rig: &Rig, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    rig.call(method, path, &headers, body.as_bytes()).await
}

#[tokio::test]
pub(crate) async fn each_may_do_what_its_scope_says() {
    let (rig, [report, read, admin]) = asking().await;
    let failure = json!({"error_message": "MemoryError", "experiment_id": "a"}).to_string();
    let cases = [
        ("POST", "/api/v1/failures", failure.as_str(), [201, 403, 200]),
        ("GET", "/admin/experiments", "", [403, 200, 200]),
        ("GET", "/api/v1/experiments/a", "", [403, 200, 200]),
        ("GET", "/metrics", "", [403, 200, 200]),
        ("GET", "/api/v1/tokens", "", [403, 403, 200]),
        ("POST", "/api/v1/experiments/a/vote", "{\"helpful\": true}", [403, 200, 200]),
        ("POST", "/api/v1/experiments/a/correction", "{\"severity\": \"low\"}", [403, 403, 200]),
    ];
    for (method, path, body, expected) in cases {
        for (token, expected) in [&report, &read, &admin].into_iter().zip(expected) {
            let answer = with(&rig, method, path, token, body).await;
            assert_eq!(answer.status, expected, "{method} {path}: {answer}");
        }
        let nobody = rig.call(method, path, "content-type: application/json\r\n", body.as_bytes()).await;
        assert_eq!(nobody.status, 401, "{nobody}");
        assert!(nobody.header("www-authenticate").is_some());
    }
    let nobody = rig.get("/admin/experiments").await;
    assert_eq!(nobody.json()["error"], "Unauthorized - missing or invalid token");
    let wrong = with(&rig, "GET", "/admin/experiments", "nonsense", "").await;
    assert_eq!(
        (wrong.status, wrong.json()["error"].as_str()),
        (401, Some("Unauthorized - invalid or expired token"))
    );
    // public
    for path in ["/healthz", "/readyz"] {
        assert_eq!(rig.get(path).await.status, 200);
    }
    // a page asks to log in
    let page = rig.call("GET", "/groups?state=open", "accept: text/html\r\n", b"").await;
    assert_eq!((page.status, page.header("location")), (303, Some("/login?next=/groups%3Fstate%3Dopen")));
    // used, listed, revoked
    let tokens = with(&rig, "GET", "/api/v1/tokens", &admin, "").await;
    assert!(tokens.json()["tokens"][0]["last_used"].is_string(), "{tokens}");
    assert!(!tokens.text().contains(&report[8..]), "no token is told again");
    assert_eq!(with(&rig, "DELETE", "/api/v1/tokens/report", &admin, "").await.status, 200);
    assert_eq!(with(&rig, "POST", "/api/v1/failures", &report, &failure).await.status, 401);
    let made =
        with(&rig, "POST", "/api/v1/tokens", &admin, "{\"name\": \"ci\", \"scope\": \"report\"}").await;
    assert_eq!(made.status, 201, "{made}");
    let made = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(with(&rig, "POST", "/api/v1/failures", &made, &failure).await.status, 200);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn the_originals_login_works_with_and_without_a_second_factor() {
    let (rig, _) = asking().await;
    let login = json!({"username": "ada", "password": "correct horse"});
    let answer = rig.post("/admin/login", &login).await.json();
    assert_eq!((answer["success"].as_bool(), answer["requires_2fa"].as_bool()), (Some(true), Some(false)));
    let token = answer["token"].as_str().unwrap();
    assert_eq!(with(&rig, "GET", "/admin/experiments", token, "").await.status, 200);
    assert_eq!(with(&rig, "POST", "/admin/status", token, "").await.status, 200);
    let wrong = rig.post("/admin/login", &json!({"username": "ada", "password": "x"})).await;
    assert_eq!((wrong.status, wrong.json()["error"].as_str()), (200, Some("Invalid credentials")));

    rig.store.set_totp("vic", Some(b"12345678901234567890".to_vec())).await.unwrap();
    // the code alone is nothing
    let early = rig.post("/admin/verify-2fa", &json!({"username": "vic", "code": "123456"})).await.json();
    assert_eq!(early["success"], false);
    let login = json!({"username": "vic", "password": "correct horse"});
    let answer = rig.post("/admin/login", &login).await.json();
    assert_eq!((answer["requires_2fa"].as_bool(), answer.get("token")), (Some(true), None));
    let wrong = rig.post("/admin/verify-2fa", &json!({"username": "vic", "code": "000000"})).await.json();
    assert_eq!(wrong["error"], "Invalid 2FA code");
    let code = code(b"12345678901234567890", Timestamp::now().as_second());
    let right = rig.post("/admin/verify-2fa", &json!({"username": "vic", "code": code})).await.json();
    assert_eq!(right["success"], true, "{right}");
    let token = right["token"].as_str().unwrap();
    assert_eq!(with(&rig, "GET", "/admin/experiments", token, "").await.status, 200);
    assert_eq!(with(&rig, "GET", "/api/v1/users", token, "").await.status, 403, "a viewer");
    // no code counts twice
    rig.post("/admin/login", &login).await;
    let twice = rig.post("/admin/verify-2fa", &json!({"username": "vic", "code": code})).await.json();
    assert_eq!(twice["success"], false);
    rig.end().await;
}

/// RFC 6238 again, as an authenticator does it.
fn code(secret: &[u8], seconds: i64) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret).unwrap();
    mac.update(&(seconds / 30).to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes([hash[at] & 127, hash[at + 1], hash[at + 2], hash[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

#[tokio::test]
pub(crate) async fn a_browser_logs_in_by_a_form_and_other_sites_can_do_nothing() {
    let (rig, _) = asking().await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let wrong = rig.call("POST", "/login", form, b"username=ada&password=x&next=/groups").await;
    assert_eq!(wrong.header("location"), Some("/login?error=credentials&next=/groups"), "{wrong}");
    let login = b"username=ada&password=correct+horse&next=%2Fgroups%3Fa%3D1";
    let answer = rig.call("POST", "/login", form, login).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/groups?a=1")), "{answer}");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(rig.call("GET", "/admin/experiments", &cookie, b"").await.status, 200);
    let outside = b"username=ada&password=correct+horse&next=%2F%2Fevil.example";
    assert_eq!(rig.call("POST", "/login", form, outside).await.header("location"), Some("/"));

    let json = format!("{cookie}content-type: application/json\r\n");
    let change = |headers: &str| format!("{json}{headers}");
    let body = b"{\"error_message\": \"MemoryError\"}";
    for headers in ["origin: https://evil.example\r\n", "sec-fetch-site: cross-site\r\n", "origin: null\r\n"]
    {
        let answer = rig.call("POST", "/api/v1/failures", &change(headers), body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (403, Some("cross_site")),
            "{headers}"
        );
    }
    let ours = change("origin: http://127.0.0.1\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(rig.call("POST", "/api/v1/failures", &ours, body).await.status, 201);
    // a form without the session's mark
    let vote = format!("{cookie}{form}");
    assert_eq!(rig.call("POST", "/api/v1/experiments/1/vote", &vote, b"helpful=true").await.status, 403);
    let out = rig.call("POST", "/logout", &format!("{cookie}{form}"), b"").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out}");
    assert_eq!(rig.call("GET", "/admin/experiments", &cookie, b"").await.status, 401);
    rig.end().await;
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let (rig, _) = asking().await;
    let wrong = json!({"username": "ada", "password": "guess"});
    let mut throttled = None;
    for _ in 0..12 {
        let answer = rig.post("/admin/login", &wrong).await;
        if answer.status == 429 {
            throttled = Some(answer);
            break;
        }
    }
    let throttled = throttled.unwrap();
    assert!(throttled.header("retry-after").is_some(), "{throttled}");
    let right = rig.post("/admin/login", &json!({"username": "ada", "password": "correct horse"})).await;
    assert_eq!(right.status, 429, "the right one waits too");
    rig.end().await;
}

#[tokio::test]
async fn where_nobody_is_asked_a_name_that_leads_here_by_a_trick_reads_nothing() {
    let rig = Rig::open().await;
    let request = "GET /admin/experiments HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let answer = rig.send(request, b"").await;
    assert_eq!(answer.status, 421, "{answer}");
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        let request = format!("GET /admin/experiments HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(rig.send(&request, b"").await.status, 200, "{host}");
    }
    rig.end().await;
}
