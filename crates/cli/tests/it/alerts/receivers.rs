//! Those who are told: a real mail server, and a program that takes webhooks.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The Python that has the mail server: Debian's package is for Debian's own.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let tried = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

/// A mail server in a process of its own.
pub(crate) struct MailServer {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl MailServer {
    /// Nothing, said aloud, where there is none.
    pub(crate) fn start(test: &str, folder: &Path) -> Option<Self> {
        Self::start_with(test, folder, 0, None, None)
    }

    #[expect(clippy::print_stderr, reason = "what is skipped says so")]
    pub(crate) fn start_with(
        test: &str,
        folder: &Path,
        port: u16,
        cert: Option<&str>,
        login: Option<&str>,
    ) -> Option<Self> {
        let Some(python) = python() else {
            eprintln!("skipped: {test}: python3-aiosmtpd (Debian's package of a mail server) is not here");
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/alerts/smtp.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder)
            .args([&port.to_string(), cert.unwrap_or("-"), login.unwrap_or("-")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Some(Self { child, port, folder: folder.to_owned() })
    }

    /// later, refuse, slow, vanish, or nothing for as it should be.
    pub(crate) fn mode(&self, mode: &str) {
        std::fs::write(self.folder.join("mode"), mode).unwrap();
    }

    /// Has a mail begun to come in?
    pub(crate) fn begun(&self) -> bool {
        self.folder.join("begun").exists()
    }

    /// The mails that were taken, in their order.
    pub(crate) fn mails(&self) -> Vec<String> {
        mails(&self.folder)
    }
}

pub(crate) fn mails(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "eml")).collect();
    files.sort();
    files.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

impl Drop for MailServer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What a mail says, as Python's mail library reads it: subject, other headers, the text part and the HTML part.
pub(crate) fn read(mail: &str) -> serde_json::Value {
    let script = "import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
part = lambda kind: m.get_body((kind,)).get_content()
print(json.dumps({'headers': {k.lower(): str(v) for k, v in m.items()}, 'text': part('plain'), 'html': part('html')}))";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(mail.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A program that takes webhooks.
pub(crate) struct Receiver {
    pub(crate) address: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let answers: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let (log, next) = (Arc::clone(&posted), Arc::clone(&answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                }
                let length = head.to_lowercase();
                let length =
                    length.split("content-length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                log.lock().unwrap().push(Posted { head, body: String::from_utf8(body).unwrap() });
                let answer = next.lock().unwrap().pop_front();
                let answer = answer.unwrap_or_else(|| "200 OK\r\ncontent-length: 0\r\n\r\n".to_owned());
                _ = (&stream).write_all(format!("HTTP/1.1 {answer}").as_bytes());
            }
        });
        Self { address, posted, answers }
    }

    /// The next requests are answered so; then all is well again.
    pub(crate) fn answer(&self, status: &str, headers: &str, body: &str) {
        let answer =
            format!("{status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}", body.len());
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }
}
