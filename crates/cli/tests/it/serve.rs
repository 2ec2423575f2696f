//! The desk as users run it, and the commands of its document.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use crate::rig::{Home, text, with_input};

/// A desk that runs until it is dropped.
pub(crate) struct Serving(Child, String);

impl Serving {
    pub(crate) fn start(home: &Home, words: &[&str]) -> Self {
        Self::start_with(home, words, &[])
    }

    /// What it complains of goes into the file `complaints` of its home.
    pub(crate) fn start_with(home: &Home, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coroner"));
        command.arg("serve").args(words);
        home.dress(&mut command);
        command.envs(variables.iter().copied());
        let complaints = std::fs::File::create(home.path().join("complaints")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(complaints).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().trim_end_matches('/').to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self(child, url)
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.1
    }

    /// What it answers to a request with these headers, whole.
    pub(crate) fn ask(&self, first: &str, headers: &str, body: &str) -> String {
        let host = self.1.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        let head = format!(
            "{first} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer)
    }

    /// Asks it to end, and says with which status it did.
    pub(crate) fn end(mut self) -> i32 {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap().code().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_document_work() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: the_commands_of_the_document_work: curl is not here");
        return;
    }
    let home = Home::new();
    let desk = Serving::start(&home, &["--listen", "127.0.0.1:0"]);
    let document = include_str!("../../../../docs/api.md");
    let blocks: Vec<&str> =
        document.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6);
    let script = format!("set -euo pipefail\n{}", blocks.concat().replace("http://127.0.0.1:8080", &desk.1));
    symlink(env!("CARGO_BIN_EXE_coroner"), home.path().join("coroner")).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]);
    home.dress(&mut bash);
    let path = std::env::var("PATH").unwrap();
    let output = bash.env("PATH", format!("{}:{path}", home.path().display())).output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("\"failure_category\":\"import_error\""), "{said}");
    let csv = std::fs::read_to_string(home.path().join("failures.csv")).unwrap();
    assert!(csv.contains("run-7") && csv.contains("exp-3"), "{csv}");
    assert_eq!(desk.end(), 0);
    // what was reported is there without the desk
    let shown = home.output(&["show", "exp-1", "--format", "json"]);
    assert!(text(&shown.stdout).contains("The image of node 7 lacks scipy."), "{}", text(&shown.stdout));
}

#[test]
fn beyond_this_machine_somebody_must_be_there_who_may_log_in() {
    let home = Home::new();
    let refused = home.output(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("coroner user add"), "{}", text(&refused.stderr));

    let add = with_input(home.coroner(&["user", "add", "ada"]), b"correct horse\n");
    assert!(add.status.success(), "{}", text(&add.stderr));
    assert!(text(&add.stderr).contains("admin"), "the first is an admin: {}", text(&add.stderr));
    assert_eq!(with_input(home.coroner(&["user", "add", "ada"]), b"correct horse\n").status.code(), Some(1));
    assert_eq!(with_input(home.coroner(&["user", "add", "eve"]), b"short\n").status.code(), Some(2));
    assert!(with_input(home.coroner(&["user", "add", "vic"]), b"correct horse\n").status.success());
    let list = text(&home.output(&["user", "list"]).stdout);
    assert!(list.contains("ada") && list.contains("viewer") && !list.contains("argon"), "{list}");
    let factor = home.output(&["user", "second-factor", "vic"]);
    assert!(
        text(&factor.stdout).starts_with("otpauth://totp/coroner:vic?secret="),
        "{}",
        text(&factor.stdout)
    );
    assert_eq!(home.output(&["user", "remove", "vic"]).status.code(), Some(0));
    assert_eq!(home.output(&["user", "remove", "vic"]).status.code(), Some(1));
    assert!(with_input(home.coroner(&["user", "password", "ada"]), b"another horse\n").status.success());

    let token = home.output(&["token", "add", "ci", "--format", "json"]);
    let token: serde_json::Value = serde_json::from_slice(&token.stdout).unwrap();
    assert_eq!(token["scope"], "report");
    assert_eq!(home.output(&["token", "add", "ci"]).status.code(), Some(1));
    assert!(text(&home.output(&["token", "list"]).stdout).contains("never used"));
    assert_eq!(home.output(&["token", "revoke", "ci"]).status.code(), Some(0));
    assert_eq!(home.output(&["token", "revoke", "ci"]).status.code(), Some(1));
    assert_eq!(home.output(&["serve", "--listen", "nowhere"]).status.code(), Some(2));
}
