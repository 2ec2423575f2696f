//! `coroner evolve --queue` and `coroner worker`: what can't be used is told, and workers that are killed lose nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::evolve::{can_run, home};
use crate::rig::{Home, text};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
const REGION: (&str, &str) = ("AWS_REGION", "eu-central-1");

/// The binary, with the AWS configuration of nobody but these variables.
fn coroner(home: &Home, variables: &[(&str, &str)], words: &[&str]) -> Command {
    let mut command = home.coroner(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("TMPDIR", home.path().join("tmp"));
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
    command
}

#[test]
fn what_is_missing_is_told() {
    let home = home();
    let nowhere = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    for (variables, advice) in [
        (vec![REGION], "set AWS_PROFILE"),
        (vec![KEYS[0], KEYS[1]], "AWS_REGION"),
        (vec![KEYS[0], KEYS[1], REGION, nowhere], "AWS_ENDPOINT_URL"),
    ] {
        for words in [&["worker", "task.toml"][..], &["evolve", "task.toml", "--offline"]] {
            let output =
                coroner(&home, &variables, &[words, &["--queue", "sqs:tests"]].concat()).output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{variables:?} {stderr}");
            assert!(stderr.contains("`tests`") && stderr.contains(advice), "{variables:?} {stderr}");
        }
    }
    for (queue, why) in [("redis:x", "only queues of SQS"), ("sqs:a b", "letters"), ("sqs:x.fifo", "FIFO")] {
        let output = coroner(&home, &[REGION], &["worker", "task.toml", "--queue", queue]).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(why), "{stderr}");
    }
}

/// What the emulator's SQS answers to an action.
fn asked(endpoint: &str, action: &str, body: &Value) -> Value {
    let host = endpoint.strip_prefix("http://").unwrap();
    let body = body.to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amz-target: AmazonSQS.{action}\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=test/20261129/eu-central-1/sqs/aws4_request, SignedHeaders=host, Signature=0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = text(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{action}: {e}: {answer}"))
}

/// A table, a queue and a task of their own; nothing, said aloud, where there is no emulator.
struct Shared {
    home: Home,
    endpoint: String,
    store: String,
    queue: String,
}

impl Shared {
    #[expect(clippy::print_stdout, reason = "what is skipped says so")]
    fn here(test: &str) -> Option<Self> {
        let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
            println!(
                "skipped: worker::{test}: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
            );
            return None;
        };
        let home = home();
        let name = format!("{test}-{}", std::process::id());
        let made = asked(&endpoint, "CreateQueue", &json!({"QueueName": name}));
        assert!(made["QueueUrl"].is_string(), "{made}");
        let shared = Self { home, endpoint, store: format!("dynamodb:{name}"), queue: format!("sqs:{name}") };
        let init = shared.coroner(&["store", "init"]).output().unwrap();
        assert!(init.status.success(), "{}", text(&init.stderr));
        Some(shared)
    }

    fn coroner(&self, words: &[&str]) -> Command {
        let variables = [KEYS[0], KEYS[1], REGION, ("AWS_ENDPOINT_URL", self.endpoint.as_str())];
        coroner(&self.home, &variables, &[&["--store", &self.store], words].concat())
    }

    fn worker(&self, words: &[&str]) -> Child {
        let all =
            [&["worker", "task.toml", "--offline", "--hidden", "2s", "--queue", &self.queue], words].concat();
        let errors = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.home.path().join("workers"))
            .unwrap();
        self.coroner(&all).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    }

    fn evolve(&self, words: &[&str]) -> Command {
        let mut command = self.coroner(
            &[&["evolve", "task.toml", "--offline", "--format", "json", "--queue", &self.queue], words]
                .concat(),
        );
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn page(&self) -> Value {
        let output = self.coroner(&["list", "--limit", "500", "--format", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// How many ends workers have told of.
    fn ended(&self) -> usize {
        let said = self.said();
        ["adopted", "rejected", "test_failed"]
            .iter()
            .map(|end| said.matches(&format!(": {end}")).count())
            .sum()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("workers")).unwrap_or_default()
    }
}

#[test]
fn workers_and_loops_that_are_killed_lose_nothing_and_test_nothing_twice() {
    let name = "workers_and_loops_that_are_killed";
    let Some(shared) = Shared::here(name) else { return };
    let alone = shared.coroner(&["test", "seed.py", "--task", "task.toml", "--offline"]).output().unwrap();
    if !can_run(&alone, name) {
        return;
    }
    const GENERATIONS: u64 = 14;
    let words = ["--generations", &GENERATIONS.to_string(), "--workers", "4"];
    let mut workers = [shared.worker(&[]), shared.worker(&[])];
    let mut evolve = shared.evolve(&words).spawn().unwrap();
    let mut kills = 0;
    let output = loop {
        // however long things take here, something gets its end between two kills, or is given the time for it
        let (since, before) = (Instant::now(), shared.ended());
        let least = Duration::from_millis(900 + 150 * (kills % 5));
        while evolve.try_wait().unwrap().is_none()
            && (since.elapsed() < least || (shared.ended() == before && since.elapsed() < least * 10))
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        if evolve.try_wait().unwrap().is_some() {
            break evolve.wait_with_output().unwrap();
        }
        // one after the other dies in the middle of something, and the loop too; others come
        let worker = &mut workers[usize::try_from(kills).unwrap() % 2];
        _ = worker.kill();
        worker.wait().unwrap();
        *worker = shared.worker(&[]);
        kills += 1;
        if kills % 4 == 3 {
            _ = evolve.kill();
            evolve.wait().unwrap();
            evolve = shared.evolve(&words).spawn().unwrap();
        }
        assert!(kills < 120, "it does not come to an end: {}\n{}", shared.page(), shared.said());
    };
    assert!(kills > 0);
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), shared.said());
    // who is asked to end ends, when there is nothing to do
    for mut worker in workers {
        let pid = worker.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(worker.wait().unwrap().code(), Some(0), "{}", shared.said());
    }
    let page = shared.page();
    let all = page["experiments"].as_array().unwrap();
    assert_eq!(page["total_count"], all.len(), "{page}");
    assert_eq!(page["running_commands"], 0, "{page}");
    let ended =
        |it: &&Value| ["adopted", "rejected", "test_failed"].contains(&it["status"].as_str().unwrap());
    assert_eq!(all.iter().filter(ended).count(), all.len(), "each has an end, and none is lost: {page}");
    // the baseline, what was asked for, and what a loop had begun when it was killed
    let least = usize::try_from(GENERATIONS).unwrap() + 1;
    assert!(
        (least..=least + 4 * usize::try_from(kills / 4 + 1).unwrap()).contains(&all.len()),
        "{} {kills}",
        all.len()
    );
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ended"], "done", "{answer}");
}

#[test]
fn a_message_that_is_no_job_is_put_aside_and_a_worker_ends_when_there_is_nothing() {
    let Some(shared) = Shared::here("a_message_that_is_no_job") else { return };
    let url = format!("{}/000000000000/{}", shared.endpoint, &shared.queue[4..]);
    asked(&shared.endpoint, "SendMessage", &json!({"QueueUrl": url, "MessageBody": "hello"}));
    let status = shared.worker(&["--until-empty"]).wait().unwrap();
    let said = shared.said();
    if said.contains("sandbox") {
        println!("skipped: worker::a_message_that_is_no_job: no sandbox here");
        return;
    }
    assert!(status.success() && said.contains("a message is put aside"), "{said}");
    let missing = shared.coroner(&["worker", "task.toml", "--queue", "sqs:no-such-queue"]).output().unwrap();
    let stderr = text(&missing.stderr);
    assert!(missing.status.code() == Some(3) && stderr.contains("is not there"), "{stderr}");
}
