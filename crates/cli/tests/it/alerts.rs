//! Alerts from end to end: real commands that fail, a real mail server, a program that takes webhooks, and all that can
//! go wrong between.

mod ends;
mod receivers;

use std::path::Path;
use std::process::{Command, Output};

use receivers::{MailServer, Receiver, mails, read};
use serde_json::Value;

use crate::rig::{HeldPort, Home, started, text, until};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn configured(home: &Home, channels: &str) {
    home.file(".config/coroner/config.toml", channels);
}

fn mail_channel(port: u16) -> String {
    format!(
        "[[alerts.channels]]\nname = \"team\"\nkind = \"email\"\nsmtp = \"127.0.0.1:{port}\"\ntls = \"none\"\n\
         from = \"Coroner <coroner@example.org>\"\nto = [\"ada@example.org\", \"bob@example.org\"]\n"
    )
}

fn hook_channel(name: &str, kind: &str, address: &str) -> String {
    let secret = if kind == "webhook" { "secret_env = \"CORONER_HOOK_KEY\"\n" } else { "" };
    format!(
        "[[alerts.channels]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"http://{address}/services/T0/secretpath\"\n{secret}"
    )
}

/// A command that dies of a missing module, and prints things that a mail must not act on.
fn fail(home: &Home, module: &str) -> Output {
    let script = format!(
        "import sys; print('Bcc: evil@example.org <script>alert(1)</script> <!channel> token=hunter2hunter2', \
         file=sys.stderr); import {module}"
    );
    let mut command = home.coroner(&["run", "--type", "train", "--", "python3", "-c", &script]);
    command.env("CORONER_HOOK_KEY", KEY).env("API_TOKEN", "hunter2hunter2");
    command.output().unwrap()
}

fn alerts(home: &Home, words: &[&str]) -> Output {
    home.coroner(&[&["alerts"], words].concat()).env("CORONER_HOOK_KEY", KEY).output().unwrap()
}

/// Waits until so much has arrived. What a command had no time for, on a machine that has much to do, the next one sends.
fn until_told(home: &Home, count: usize, arrived: impl Fn() -> usize) {
    until("all have arrived that should", || {
        let all = arrived() >= count;
        if !all {
            alerts(home, &["deliver", "--retry"]);
        }
        all
    });
    assert_eq!(arrived(), count);
}

/// Channels and states of all messages.
fn states(home: &Home) -> Vec<(String, String)> {
    list(home).into_iter().map(|(channel, state, _)| (channel, state)).collect()
}

fn list(home: &Home) -> Vec<(String, String, u64)> {
    let output = home.output(&["alerts", "list", "--format", "json"]);
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let one = |it: &Value| {
        let word = |name: &str| it[name].as_str().unwrap().to_owned();
        (word("channel"), word("state"), it["attempts"].as_u64().unwrap())
    };
    all.iter().map(one).collect()
}

#[test]
pub(crate) fn a_run_that_fails_is_told_by_mail_once() {
    let (home, box_) = (Home::new(), tempfile::tempdir().unwrap());
    let Some(server) = MailServer::start("a_run_that_fails_is_told_by_mail_once", box_.path()) else {
        return;
    };
    configured(&home, &mail_channel(server.port));
    let output = fail(&home, "torchh");
    assert_eq!(output.status.code(), Some(1), "the command's own");
    assert!(text(&output.stderr).contains("torchh"), "{}", text(&output.stderr));
    until_told(&home, 1, || server.mails().len());
    let [mail] = server.mails().try_into().unwrap();
    assert!(mail.starts_with("X-Envelope-To: ada@example.org,bob@example.org\r\n"), "{mail}");
    let it = read(&mail);
    let header = |name: &str| it["headers"][name].as_str().unwrap_or_default().to_owned();
    let subject = header("subject");
    assert!(subject.starts_with("[coroner] high: ") && subject.contains("torchh"), "{subject}");
    assert!(subject.contains("1 experiment on ") && subject.ends_with(" (new)"), "{subject}");
    assert_eq!(header("from"), "Coroner <coroner@example.org>");
    assert_eq!(header("to"), "ada@example.org, bob@example.org");
    assert_eq!((header("bcc"), header("auto-submitted").as_str()), (String::new(), "auto-generated"));
    let (plain, html) = (it["text"].as_str().unwrap().replace("\r\n", "\n"), it["html"].as_str().unwrap());
    let mut lines = plain.lines();
    assert!(lines.next().unwrap().contains("torchh"), "the first line is the cause: {plain}");
    assert!(
        lines.next().unwrap().starts_with("high · import_error · fault of: candidate · 1 experiment"),
        "{plain}"
    );
    for part in ["\nFix ", "\nEvidence\n", "coroner show 1", "rule new"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(html.contains("ModuleNotFoundError") && html.contains("HIGH"), "{html}");
    for text in [&plain, html] {
        assert!(!text.contains("hunter2hunter2"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
    }
    // the same cause again: within the pause nothing is said, and it is no new cause
    fail(&home, "torchh");
    fail(&home, "torchh");
    alerts(&home, &["deliver"]);
    assert_eq!(server.mails().len(), 1);
    // another is news of its own, in a thread of its own
    fail(&home, "numpyy");
    until_told(&home, 2, || server.mails().len());
    let all = server.mails();
    let ids: Vec<_> = all.iter().map(|mail| read(mail)["headers"]["message-id"].clone()).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(states(&home), [("team".into(), "sent".into()), ("team".into(), "sent".into())]);
    let shown = text(&home.output(&["alerts", "list"]).stdout);
    assert!(shown.contains("sent") && shown.contains("[coroner] high: "), "{shown}");
    let doctor = text(&home.output(&["doctor", "--offline"]).stdout);
    let doctor = doctor.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(doctor.contains("team (email) to ada@example.org, bob@example.org by 127.0.0.1:"), "{doctor}");
}

#[test]
pub(crate) fn webhooks_are_signed_and_slack_is_told_in_its_own_words() {
    let (home, hook, slack) = (Home::new(), Receiver::start(), Receiver::start());
    let channels =
        hook_channel("pager", "webhook", &hook.address) + &hook_channel("slack", "slack", &slack.address);
    configured(&home, &format!("[serve]\npublic_url = \"https://coroner.example\"\n{channels}"));
    fail(&home, "torchh");
    until_told(&home, 2, || hook.posted().len() + slack.posted().len());
    let [posted] = hook.posted().try_into().unwrap();
    assert!(posted.head.starts_with("POST /services/T0/secretpath HTTP/1.1"), "{}", posted.head);
    let (id, at) = (posted.header("webhook-id").unwrap(), posted.header("webhook-timestamp").unwrap());
    // checked by other means than it was made with: the snippet of the document
    let document = include_str!("../../../../docs/alerts.md");
    let snippet = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let check = format!(
        "{snippet}\nimport sys\nbody = sys.stdin.buffer.read()\nh = {{'webhook-id': {id:?}, 'webhook-timestamp': {at:?}, \
         'webhook-signature': {:?}}}\nassert is_ours(h, body, {KEY:?})\nassert not is_ours(h, body + b' ', {KEY:?})\n\
         assert not is_ours({{**h, 'webhook-timestamp': '1'}}, body, {KEY:?})\n",
        posted.header("webhook-signature").unwrap()
    );
    let checked = crate::rig::with_input(
        {
            let mut python = Command::new("python3");
            python.args(["-c", &check]);
            python
        },
        posted.body.as_bytes(),
    );
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let body = posted.json();
    assert_eq!((body["id"].as_str(), body["kind"].as_str()), (Some(id), Some("opened")));
    assert_eq!((body["severity"].as_str(), body["category"].as_str()), (Some("high"), Some("import_error")));
    assert_eq!((body["count"].as_u64(), body["is_new"].as_bool()), (Some(1), Some(true)));
    assert_eq!(body["links"]["experiment"].as_str(), Some("https://coroner.example/experiments/1"));

    let [posted] = slack.posted().try_into().unwrap();
    assert_eq!(posted.header("webhook-signature"), None);
    let body = posted.json();
    let said = body["text"].as_str().unwrap();
    assert!(
        said.contains("torchh") && said.contains("<https://coroner.example/experiments/1|Experiment>"),
        "{said}"
    );
    assert!(
        !posted.body.contains("<!channel>") && !posted.body.contains("hunter2hunter2"),
        "{}",
        posted.body
    );
    assert!(body["blocks"].as_array().unwrap().len() >= 4, "{body}");
}

#[test]
pub(crate) fn what_can_t_be_delivered_waits_and_is_neither_lost_nor_doubled() {
    let (home, box_) = (Home::new(), tempfile::tempdir().unwrap());
    let name = "what_can_t_be_delivered_waits_and_is_neither_lost_nor_doubled";
    let place = HeldPort::new();
    let port = place.number();
    configured(&home, &mail_channel(port));
    // nobody listens: the command's status and words are what they were
    let output = fail(&home, "torchh");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).trim_end().ends_with("coroner show 1"), "{}", text(&output.stderr));
    until("it was tried", || {
        let tried = list(&home).iter().any(|(.., attempts)| *attempts > 0);
        if !tried {
            alerts(&home, &["deliver"]);
        }
        tried
    });
    assert_eq!(list(&home), [("team".into(), "waiting".into(), 1)]);
    let doctor = home.output(&["doctor", "--offline"]);
    assert_eq!(doctor.status.code(), Some(1));
    let said = text(&doctor.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("1 message waiting; the last try failed"), "{said}");
    let Some(server) = MailServer::start_with(name, box_.path(), port, None, None) else { return };
    // it is not tried again before its time
    assert_eq!(alerts(&home, &["deliver"]).status.code(), Some(0));
    assert_eq!(server.mails().len(), 0);
    for (mode, said) in [("later", "451"), ("refuse", "not wanted here")] {
        server.mode(mode);
        let tried = alerts(&home, &["deliver", "--retry"]);
        assert_eq!(tried.status.code(), Some(3), "{mode}");
        assert!(text(&tried.stderr).contains(said), "{mode}: {}", text(&tried.stderr));
        assert!(text(&home.output(&["alerts", "list"]).stdout).contains(said));
    }
    assert_eq!(list(&home), [("team".into(), "waiting".into(), 3)]);
    server.mode("");
    assert_eq!(alerts(&home, &["deliver", "--retry"]).status.code(), Some(0));
    assert_eq!(alerts(&home, &["deliver", "--retry"]).status.code(), Some(0));
    assert_eq!(server.mails().len(), 1);

    // the one window that there is: taken, and the answer never came. The same id tells the second from another
    server.mode("vanish");
    fail(&home, "numpyy");
    until_told(&home, 2, || server.mails().len());
    server.mode("");
    assert_eq!(alerts(&home, &["deliver", "--retry"]).status.code(), Some(0));
    let ids: Vec<_> = server.mails().iter().map(|mail| read(mail)["headers"]["message-id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[1], ids[2]);
}

#[test]
pub(crate) fn a_sender_that_is_killed_leaves_its_message_to_the_next() {
    let (home, box_) = (Home::new(), tempfile::tempdir().unwrap());
    let name = "a_sender_that_is_killed_leaves_its_message_to_the_next";
    let Some(server) = MailServer::start(name, box_.path()) else { return };
    server.mode("slow");
    configured(&home, &mail_channel(server.port));
    // a server that takes for ever holds up a command for seconds at most, and costs it nothing else
    let output = fail(&home, "torchh");
    assert_eq!(output.status.code(), Some(1));
    assert!(list(&home).iter().all(|(_, state, _)| state == "waiting"));
    _ = std::fs::remove_file(box_.path().join("begun"));
    let mut child = started(home.coroner(&["alerts", "deliver", "--retry"]));
    until("the message is under way", || server.begun());
    // of setsid and coroner there is one process: setsid becomes what it starts
    child.kill().unwrap();
    child.wait().unwrap();
    server.mode("");
    assert_eq!(alerts(&home, &["deliver"]).status.code(), Some(0));
    assert_eq!(server.mails().len(), 1, "nothing lost, nothing doubled");
    assert_eq!(list(&home)[0].1, "sent");
}

#[test]
pub(crate) fn many_processes_on_one_store_tell_each_failure_once() {
    let (home, box_) = (Home::new(), tempfile::tempdir().unwrap());
    let name = "many_processes_on_one_store_tell_each_failure_once";
    let Some(server) = MailServer::start(name, box_.path()) else { return };
    let rule = "[[alerts.rules]]\nname = \"all\"\n";
    configured(&home, &format!("[alerts]\nmost_per_hour = 100\n{}{rule}", mail_channel(server.port)));
    let mut serve = Command::new(env!("CARGO_BIN_EXE_coroner"));
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    home.dress(&mut serve);
    let mut serve = started(serve);
    let modules: Vec<String> =
        (0..8).map(|i| format!("missing_module_{}", ["a", "b", "c", "d"][i % 4])).collect();
    std::thread::scope(|scope| {
        for module in &modules {
            scope.spawn(|| assert_eq!(fail(&home, module).status.code(), Some(1)));
        }
        for _ in 0..3 {
            scope.spawn(|| alerts(&home, &["deliver", "--retry"]));
        }
    });
    // what nobody has looked at yet is not in the list
    until("all four are told and all is sent", || {
        server.mails().len() >= 4 && list(&home).iter().all(|(_, state, _)| state == "sent")
    });
    let mails: Vec<Value> = server.mails().iter().map(|mail| read(mail)).collect();
    let mut ids: Vec<String> = mails.iter().map(|it| it["headers"]["message-id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), mails.len(), "no message twice");
    assert_eq!(mails.len(), list(&home).len(), "and none lost");
    for module in ["a", "b", "c", "d"] {
        let told = mails
            .iter()
            .filter(|it| it["headers"]["subject"].to_string().contains(&format!("module_{module}")));
        assert_eq!(told.count(), 1, "{module}");
    }
    serve.kill().unwrap();
    serve.wait().unwrap();
}

#[test]
fn mail_goes_by_starttls_with_a_password_that_is_shown_to_nobody_else() {
    let name = "mail_goes_by_starttls_with_a_password_that_is_shown_to_nobody_else";
    let (home, box_) = (Home::new(), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = home.file("cert.pem", &(made.cert.pem() + &made.signing_key.serialize_pem()));
    let login = Some("coroner:correct-horse-battery");
    let Some(server) = MailServer::start_with(name, box_.path(), 0, Some(&cert), login) else { return };
    let channel =
        mail_channel(server.port).replace("127.0.0.1", "localhost").replace("\"none\"", "\"starttls\"");
    configured(&home, &format!("{channel}user = \"coroner\"\npassword_env = \"CORONER_MAIL_PASSWORD\"\n"));
    let test = |password: &str, cert: &str| {
        let mut command = home.coroner(&["alerts", "test", "team"]);
        if !password.is_empty() {
            command.env("CORONER_MAIL_PASSWORD", password);
        }
        command.env("SSL_CERT_FILE", cert).output().unwrap()
    };
    let good = test("correct-horse-battery", &cert);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    assert!(text(&good.stdout).contains("team (email): taken by ada@example.org"), "{}", text(&good.stdout));
    assert_eq!(text(&good.stderr), "", "the variable is known to be meant");
    assert!(server.mails()[0].contains("[coroner] test: messages arrive here"));
    let nobody =
        home.file("nobody.pem", &rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem());
    for (password, cert, why) in [
        ("wrong-horse-battery", &cert, "535"),
        ("", &cert, "CORONER_MAIL_PASSWORD is not set"),
        ("correct-horse-battery", &nobody, "ertificate"),
    ] {
        let bad = test(password, cert);
        let said = text(&bad.stdout) + &text(&bad.stderr);
        assert_eq!(bad.status.code(), Some(3), "{said}");
        assert!(said.contains(why) && !said.contains("horse"), "{why}: {said}");
    }
    assert_eq!(server.mails().len(), 1);
    let store = std::fs::read(home.path().join(".local/share/coroner/coroner.db")).unwrap();
    assert!(!String::from_utf8_lossy(&store).contains("horse"));
}

#[test]
fn a_test_says_plainly_what_happened() {
    let (home, hook) = (Home::new(), Receiver::start());
    let none = home.output(&["alerts", "test"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("[[alerts.channels]]"), "{}", text(&none.stderr));
    configured(&home, &hook_channel("pager", "webhook", &hook.address));
    let unknown = alerts(&home, &["test", "pagr"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no channel `pagr`; there is pager"));
    assert_eq!(
        text(&alerts(&home, &["test"]).stdout),
        format!("✓ pager (webhook): taken by {}\n", hook.address)
    );
    let body = hook.posted()[0].json();
    assert_eq!((body["kind"].as_str(), body["experiment"].is_null()), (Some("test"), true));
    let elsewhere = Receiver::start();
    for (status, headers, body, why) in [
        ("404 Not Found", String::new(), "no such <hook>", "answered 404: no such <hook>"),
        ("500 Oops", String::new(), "", "answered 500"),
        (
            "302 Found",
            format!("location: http://{}/\r\n", elsewhere.address),
            "",
            "a redirect, which is not followed",
        ),
        ("403 No", String::new(), "your path /services/T0/secretpath is bad", "your path *** is bad"),
    ] {
        hook.answer(status, &headers, body);
        let tested = alerts(&home, &["test", "--format", "json"]);
        assert_eq!(tested.status.code(), Some(3), "{status}");
        let said: Value = serde_json::from_slice(&tested.stdout).unwrap();
        assert!(said[0]["why"].as_str().unwrap().contains(why), "{status}: {said}");
    }
    assert_eq!(elsewhere.posted().len(), 0);
    // tests stand among the messages, and are not tried again
    let states: Vec<_> = list(&home).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, ["failed", "failed", "failed", "failed", "sent"]);
    assert_eq!(home.output(&["alerts", "list"]).status.code(), Some(1));
}

#[test]
fn a_wrong_configuration_is_named_and_costs_a_run_nothing() {
    let channel = "[[alerts.channels]]\nname = \"team\"\nkind = \"slack\"\nurl = \"http://127.0.0.1:9/x\"\n";
    for (text_, why) in [
        (format!("{channel}{channel}"), "two called `team`"),
        ((0..51).map(|i| channel.replace("team", &format!("team-{i}"))).collect(), "51, and 50 at most"),
        (format!("{channel}[[alerts.rules]]\nname = \"a\"\nchannels = [\"tem\"]\n"), "no channel `tem`"),
        (format!("{channel}[[alerts.rules]]\nname = \"a\"\nat_least = 3\n"), "belong together"),
        (
            format!("{channel}[[alerts.rules]]\nname = \"a\"\nloop_stopped = true\nnew = true\n"),
            "stands alone",
        ),
        (channel.replace("url =", "urll ="), "urll"),
        (channel.replace("slack", "telegraph"), "telegraph"),
        (channel.replace("\"team\"", "\"te am\""), "te am"),
    ] {
        let home = Home::new();
        configured(&home, &text_);
        let said = text(&home.output(&["alerts", "test"]).stderr);
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(home.output(&["alerts", "test"]).status.code(), Some(2), "{why}");
        let doctor = text(&home.output(&["doctor", "--offline"]).stdout);
        assert!(doctor.replace(['\n', ' '], "").contains(&why.replace(' ', "")), "{why}: {doctor}");
    }
    let home = Home::new();
    configured(&home, &format!("{channel}{channel}"));
    let run = home.output(&["run", "--", "sh", "-c", "exit 7"]);
    assert_eq!(run.status.code(), Some(7));
    assert!(text(&run.stderr).contains("nobody is told"), "{}", text(&run.stderr));
}

#[test]
fn a_store_that_is_new_and_a_run_that_passes_tell_nobody() {
    let (home, hook) = (Home::new(), Receiver::start());
    configured(&home, &hook_channel("pager", "webhook", &hook.address));
    assert_eq!(home.output(&["run", "--", "true"]).status.code(), Some(0));
    assert_eq!(alerts(&home, &["deliver"]).status.code(), Some(0));
    assert_eq!(hook.posted().len(), 0);
    assert!(mails(Path::new(home.path())).is_empty());
}

#[test]
fn the_commands_and_settings_of_the_document_work() {
    let name = "the_commands_and_settings_of_the_document_work";
    let (home, box_, hook, slack) =
        (Home::new(), tempfile::tempdir().unwrap(), Receiver::start(), Receiver::start());
    let login = Some("coroner:correct-horse-battery");
    let Some(server) = MailServer::start_with(name, box_.path(), 0, None, login) else { return };
    let document = include_str!("../../../../docs/alerts.md");
    let blocks = |kind: &str| -> Vec<&str> {
        let parts = document.split(kind).skip(1);
        parts.map(|part| part.split("```").next().unwrap()).collect()
    };
    let settings = blocks("```toml\n").concat();
    for (from, to) in [("rules]]", 4), ("channels]]", 3)] {
        assert_eq!(settings.matches(from).count(), to);
    }
    let settings = settings
        .replace("smtp.example.org:587", &format!("127.0.0.1:{}", server.port))
        .replace("\"starttls\"", "\"none\"")
        .replace("https://pager.example.org", &format!("http://{}", hook.address));
    configured(&home, &settings);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coroner"), home.path().join("coroner")).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("set -euo pipefail\n{}", blocks("```sh\n").concat())]);
    home.dress(&mut bash);
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    bash.env("PATH", path).env("SMTP_PASSWORD", "correct-horse-battery").env("PAGER_SECRET", KEY);
    let output = bash.env("SLACK_WEBHOOK_URL", format!("http://{}/x", slack.address)).output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout).matches(": taken by ").count(), 3, "{}", text(&output.stdout));
    assert_eq!((server.mails().len(), hook.posted().len(), slack.posted().len()), (1, 1, 1));
    // every field that the document names is there
    let body = hook.posted()[0].json();
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let fields: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(body.get(field).is_some(), "{field}");
    }
}

#[test]
fn the_settings_for_ses_are_taken() {
    let document = include_str!("../../../../docs/alerts.md");
    let settings = document.split("```toml ses\n").nth(1).unwrap().split("```").next().unwrap();
    let home = Home::new();
    configured(&home, settings);
    let doctor = |password: Option<&str>| {
        let mut command = home.coroner(&["doctor"]);
        command.envs(password.map(|it| ("SES_SMTP_PASSWORD", it)));
        text(&command.output().unwrap().stdout)
    };
    let said = doctor(Some("BGarbledSmtpPassword"));
    assert!(
        said.contains("ses (email) to ml-team@example.org by email-smtp.eu-central-1.amazonaws.com:587"),
        "{said}"
    );
    assert!(!said.contains("Garbled"), "{said}");
    // without its password it is named, and nothing else of it is taken
    let said = doctor(None);
    assert!(said.contains("SES_SMTP_PASSWORD"), "{said}");
}
