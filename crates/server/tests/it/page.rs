//! The dashboard over HTTP: what a page holds, and what it never holds.

use std::io::Write;

use coroner_diagnosis::{Diagnosis, EvidenceItem, Role, Source};
use coroner_store::{CommandLine, NewExperiment, Outcome, Owner, Status};
use jiff::{SignedDuration, Timestamp};

use crate::rig::{Answer, Rig, diagnosis};

/// Markup, an attribute's end, a script, and characters that turn text around.
pub(crate) const NASTY: &str =
    "<script>alert('x')</script>\"><img src=x onerror=alert(1)> \u{202e}evil\u{2066} {{7*7}}";

/// A failure with this log and diagnosis, as `coroner run` keeps it.
pub(crate) async fn failed(
    rig: &Rig,
    id: Option<&str>,
    command: &[&str],
    log: &[u8],
    diagnosis: Diagnosis,
) -> u64 {
    let started_at = Timestamp::now() - SignedDuration::from_secs(90);
    let new = NewExperiment {
        id: id.map(str::to_owned),
        experiment_type: "train".into(),
        command: CommandLine(command.iter().map(|word| (*word).to_owned()).collect()),
        cwd: "/work".into(),
        owner: Owner::this_process(),
        started_at,
    };
    let id = rig.store.begin(new).await.unwrap();
    let mut writer = rig.store.log_writer(&id);
    writer.write_all(log).unwrap();
    let outcome = Outcome {
        status: Status::Failed,
        exit: None,
        ended_at: started_at + SignedDuration::from_secs(42),
        reason: None,
        log: Some(writer.finish().await),
        diagnosis: Some(diagnosis),
    };
    rig.store.finish(&id, outcome).await.unwrap();
    id.number()
}

pub(crate) fn evidence(line: u64, text: &str, role: Role) -> EvidenceItem {
    EvidenceItem { source: Source::Log, line, text: text.into(), role }
}

async fn page(rig: &Rig, path: &str) -> Answer {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\nconnection: close\r\n\r\n");
    rig.send(&head, b"").await
}

#[tokio::test]
pub(crate) async fn the_table_shows_what_failed_and_why() {
    let rig = Rig::open().await;
    let empty = page(&rig, "/experiments").await;
    assert!(empty.text().contains("coroner run -- false"), "{empty}");
    let number =
        failed(&rig, Some("nightly"), &["python", "train.py"], b"boom\n", diagnosis("CUDA out of memory"))
            .await;
    let table = page(&rig, "/experiments").await;
    assert_eq!(table.status, 200);
    for part in [
        "nightly",
        "sev-",
        "Resource error",
        &format!("/experiments/{number}/analysis"),
        "One experiment is kept",
    ] {
        assert!(table.text().contains(part), "{part}: {table}");
    }
    let none = page(&rig, "/experiments?severity=low").await;
    assert!(none.text().contains("No experiment fits"), "{none}");
    let wrong = page(&rig, "/experiments?severity=awful").await;
    assert!(wrong.status == 400 && wrong.text().contains("critical, high, medium, low"), "{wrong}");
    assert!(wrong.header("content-type").unwrap().starts_with("text/html"));
    rig.end().await;
}

#[tokio::test]
async fn text_from_outside_is_shown_and_never_run() {
    let rig = Rig::open().await;
    let mut found = diagnosis("CUDA out of memory");
    (found.root_cause, found.fix_suggestion) = (NASTY.into(), NASTY.into());
    found.evidence = vec![evidence(1, NASTY, Role::Cause)];
    let log = format!("{NASTY}\n\u{1b}[31m{NASTY}\u{1b}[0m\n\u{1b}]0;title\u{7}\u{1b}[999;<b>m\n");
    let id: String = NASTY.chars().filter(|c| !c.is_control()).collect();
    let number = failed(&rig, Some(&id), &["sh", "-c", NASTY], log.as_bytes(), found).await;
    for path in [
        "/experiments".to_owned(),
        format!("/experiments/{number}"),
        format!("/experiments/{number}/analysis"),
        format!("/experiments/{number}/log?from=1"),
        format!("/experiments/{number}?find=%3Cscript%3E"),
        "/experiments?q=%3Cscript%3E%22%3E%E2%80%AE".to_owned(),
        "/experiments/%3Cscript%3E%E2%80%AE".to_owned(),
    ] {
        let answer = page(&rig, &path).await;
        let text = answer.text();
        assert!(
            !text.contains("<script>alert") && !text.contains("<img src=x") && !text.contains("<b>m"),
            "{path}: {text}"
        );
        assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{1b}']), "{path}: {text}");
        assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self'"), "{path}");
        // nothing inline, or the policy would have to allow it
        assert!(
            !text.contains(" style=") && !text.contains(" onclick=") && !text.contains("<style"),
            "{path}"
        );
    }
    let shown = page(&rig, &format!("/experiments/{number}")).await;
    assert!(
        shown.text().contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")
            && shown.text().contains("⟨U+202E⟩evil"),
        "{shown}"
    );
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_log_opens_at_the_cause() {
    let rig = Rig::open().await;
    let log: String = (1..=100_000).map(|n| format!("step {n}\n")).collect();
    let mut found = diagnosis("CUDA out of memory");
    found.evidence = vec![evidence(70_123, "step 70123", Role::Cause)];
    let number = failed(&rig, None, &["python", "train.py"], log.as_bytes(), found).await;
    let opened = page(&rig, &format!("/experiments/{number}")).await;
    let text = opened.text();
    assert!(
        text.contains(r#"<li id="L70123" class="cause">"#) && text.contains("100,000 lines"),
        "{}",
        &text[..2000]
    );
    assert!(!text.contains(r#"id="L1""#) && text.matches("<li id=\"L").count() == 600);
    let piece = page(&rig, &format!("/experiments/{number}/log?from=99801")).await;
    assert_eq!(piece.text().matches("<li id=\"L").count(), 200);
    let found = page(&rig, &format!("/experiments/{number}?find=STEP+99999")).await;
    assert!(found.text().contains("1 line has"), "{}", &found.text()[..3000]);
    let beyond = page(&rig, &format!("/experiments/{number}?line=999999")).await;
    assert!(beyond.text().contains(r#"<li id="L100000""#));
    rig.end().await;
}

#[tokio::test]
async fn files_are_kept_for_ever_and_small() {
    let rig = Rig::open().await;
    let first = rig
        .send(
            "GET /experiments HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n",
            b"",
        )
        .await;
    let mut wire = first.body.len();
    let text = rig.get("/experiments").await.text();
    for file in ["desk.css", "desk.js", "icons.svg", "mark.svg"] {
        let end = text.find(file).unwrap() + file.len();
        let address = &text[text[..end].rfind("/assets/").unwrap()..end];
        let head = format!(
            "GET {address} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
        );
        let answer = rig.send(&head, b"").await;
        assert!(
            answer.status == 200 && answer.header("cache-control").unwrap().contains("immutable"),
            "{answer}"
        );
        wire += answer.body.len();
    }
    assert!(wire < 40_000, "{wire} bytes for an empty table and its files");
    assert_eq!(rig.get("/assets/000000000000/nothing.js").await.status, 404);
    rig.end().await;
}
