//! `coroner run --report`: each run arrives once, whatever the desk, the network, the disk and we do, and the run itself never
//! notices.

mod between;
mod spool;

use std::process::{Command, Output};

use serde_json::Value;

use crate::rig::{HeldPort, Home, text, until};
use crate::serve::Serving;
use between::{Proxy, answering, silent};

const SCRIPT: &str = "echo step 1; echo \"ModuleNotFoundError: No module named 'torchvision'\" >&2; exit 3";

/// A host whose runs are reported, and the words of a run.
struct Host {
    home: Home,
    variables: Vec<(&'static str, String)>,
}

impl Host {
    fn reporting_to(desk: &str) -> Self {
        Self { home: Home::new(), variables: vec![("CORONER_REPORT", desk.to_owned())] }
    }

    /// Whether or not a desk is there.
    fn reporting_to_place(place: &HeldPort) -> Self {
        Self::reporting_to(&format!("http://{}", place.address()))
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn coroner(&self, words: &[&str]) -> Command {
        let mut command = self.home.coroner(words);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, options: &[&str], script: &str) -> Output {
        self.coroner(&[&["run"], options, &["--", "sh", "-c", script]].concat()).output().unwrap()
    }

    fn deliver(&self, options: &[&str]) -> (Option<i32>, String) {
        let output = self.coroner(&[&["report", "deliver"], options].concat()).output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn waiting(&self) -> Vec<Value> {
        let output = self.coroner(&["report", "list", "--format", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The body of what the desk answers.
fn asked(desk: &Serving, path: &str) -> String {
    let answer = desk.ask(&format!("GET {path}"), "", "");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn json(desk: &Serving, path: &str) -> Value {
    let body = asked(desk, path);
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
}

/// The ids of everything that the desk has, sorted.
fn ids(desk: &Serving) -> Vec<String> {
    let page = json(desk, "/admin/experiments?limit=500");
    let mut ids: Vec<String> = page["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(page["total_count"], ids.len());
    ids.sort();
    ids
}

fn desk(home: &Home) -> Serving {
    Serving::start(home, &["--listen", "127.0.0.1:0", "--offline"])
}

/// A desk at a place that is its own, so that another may come after it.
fn desk_at(home: &Home, place: &HeldPort) -> Serving {
    Serving::start(home, &["--listen", &place.address(), "--offline"])
}

#[test]
fn a_run_is_at_the_desk_and_nowhere_else() {
    let home = Home::new();
    let desk = desk(&home);
    let host = Host::reporting_to(desk.url()).with("API_TOKEN", "hunter2hunter2");
    let script = format!(
        "{}; exec python3 -c \"raise SystemExit(3)\" --token hunter2hunter2",
        SCRIPT.trim_end_matches("; exit 3")
    );
    let output = host.run(&["--type", "train", "--id", "night/1", "--diagnosis", "why.json"], &script);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), stdout.as_str()), (Some(3), "step 1\n"), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[0].starts_with("ModuleNotFoundError") && lines[1].contains("import_error"), "{stderr}");
    assert!(lines[1].contains("night/1 · sh · exit status 3"), "{stderr}");
    assert!(stderr.contains(&format!("{}/experiments/night%2F1", desk.url())), "{stderr}");
    let written: Value =
        serde_json::from_slice(&std::fs::read(host.home.path().join("why.json")).unwrap()).unwrap();
    assert_eq!(written["failure_category"], "import_error");

    let kept = json(&desk, "/api/v1/experiments/night%2F1");
    assert_eq!(
        (kept["status"].as_str(), kept["experiment_type"].as_str()),
        (Some("failed"), Some("train")),
        "{kept}"
    );
    assert_eq!(kept["exit_facts"]["end"]["code"], 3, "{kept}");
    assert!(kept["exit_facts"]["cpu"].is_object(), "what was seen of its end is all there: {kept}");
    assert_eq!(kept["cwd"].as_str(), host.home.path().to_str());
    let words = kept["command"].to_string();
    assert!(words.contains("sh") && words.contains("step 1") && !words.contains("hunter2"), "{words}");
    let log = "step 1\nModuleNotFoundError: No module named 'torchvision'\n";
    assert_eq!(asked(&desk, "/api/v1/experiments/night%2F1/log"), log);

    // the same id again is another attempt; what succeeds or is cut off by its reader has passed
    assert_eq!(host.run(&["--id", "night/1"], "exit 0").status.code(), Some(0));
    let again = json(&desk, "/api/v1/experiments/night%2F1~2");
    assert_eq!(
        (again["status"].as_str(), again["exit_facts"]["end"]["code"].as_i64()),
        (Some("passed"), Some(0)),
        "{again}"
    );
    let mut cut = Command::new("bash");
    let program = env!("CARGO_BIN_EXE_coroner");
    cut.args(["-c", &format!("'{program}' run --id cut -- yes | head -n 1")]);
    host.home.dress(&mut cut);
    cut.envs(host.variables.iter().map(|(name, value)| (name, value))).output().unwrap();
    let cut = json(&desk, "/api/v1/experiments/cut");
    assert_eq!(
        (cut["status"].as_str(), cut["exit_facts"]["end"]["signal"].as_i64()),
        (Some("passed"), Some(13)),
        "{cut}"
    );
    assert_eq!(host.waiting(), Vec::<Value>::new());
    let own = host.home.path().join(".local/share/coroner");
    assert!(!own.join("coroner.db").exists(), "no store of its own");
    assert_eq!(ids(&desk), ["cut", "night/1", "night/1~2"]);
}

#[test]
fn code_and_sandbox_arrive_and_any_log_arrives_as_it_was() {
    let home = Home::new();
    let desk = desk(&home);
    let host = Host::reporting_to(desk.url());
    let file = host.home.file("train.py", "KEY = 'sk-ant-REDACTED'\nimport scipyx\n");
    let run = |id: &str, words: &[&str]| {
        let output = host.coroner(&[&["run", "--id", id], words].concat()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(run("code", &["--", "python3", &file]).0, Some(1));
    let code = asked(&desk, "/api/v1/experiments/code/code");
    assert!(code.contains("import scipyx") && !code.contains("AbCdEf"), "{code}");
    // not text, and more than is held in memory
    let large = "import sys\nfor i in range(150000): sys.stdout.buffer.write(b'\\xff line %d of many that are printed\\n' % i)\nraise KeyError('lr')";
    let (status, stderr) = run("large", &["--", "python3", "-c", large]);
    assert!(
        status == Some(1) && stderr.contains("150004 KeyError: 'lr'") || stderr.contains("KeyError: 'lr'"),
        "{stderr}"
    );
    let log = json(&desk, "/api/v1/experiments/large")["log"]["bytes"].as_u64();
    assert!(log.is_some_and(|bytes| bytes > 5_000_000), "{log:?}");
    assert_eq!(run("none", &["--", "false"]).0, Some(1));
    assert_eq!(run("absent", &["--", "./no-such-program"]).0, Some(127));
    let absent = json(&desk, "/api/v1/experiments/absent");
    assert_eq!(absent["exit_facts"]["end"]["kind"], "not_started", "{absent}");
    let (status, stderr) = run(
        "boxed",
        &[
            "--sandbox",
            "--level",
            "D",
            "--",
            "python3",
            "-c",
            "import socket; socket.create_connection(('192.0.2.1', 9))",
        ],
    );
    assert_eq!(status, Some(1), "{stderr}");
    let boxed = json(&desk, "/api/v1/experiments/boxed/diagnosis");
    assert!(boxed["sandbox"].is_object(), "{boxed}");
    assert_eq!(ids(&desk).len(), 5);
    assert_eq!(host.waiting().len(), 0);
}

#[test]
fn what_a_desk_cannot_take_now_waits_and_the_next_run_brings_it() {
    let (home, place) = (Home::new(), HeldPort::new());
    assert_eq!(desk_at(&home, &place).end(), 0);
    let host = Host::reporting_to_place(&place);
    // down at the start and at the end
    let output = host.run(&["--id", "a"], SCRIPT);
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "step 1\n".to_owned()));
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[1].contains("reported later") && lines[1].contains("can't be reached"), "{stderr}");
    assert!(
        lines[2].contains("import_error") && lines[2].contains("exit status 3"),
        "the rules here say why: {stderr}"
    );
    let waiting = host.waiting();
    assert_eq!((waiting.len(), waiting[0]["experiment_id"].as_str()), (1, Some("a")), "{waiting:?}");
    assert_eq!(host.deliver(&[]).0, Some(3), "nobody is there");

    // there at the start, gone at the end
    let second = desk_at(&home, &place);
    let mut run = host
        .coroner(&["run", "--id", "b", "--", "sh", "-c", "until test -e go; do sleep 0.01; done; exit 4"])
        .spawn()
        .unwrap();
    until("the desk knows b", || ids(&second).contains(&"b".to_owned()));
    drop(second);
    std::fs::write(host.home.path().join("go"), "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4));

    let third = desk_at(&home, &place);
    let output = host.run(&["--id", "c"], "exit 0");
    assert!(text(&output.stderr).contains("earlier report"), "{}", text(&output.stderr));
    until("all are delivered", || host.deliver(&[]).0 == Some(0) && host.waiting().is_empty());
    assert_eq!(ids(&third), ["a", "b", "c"]);
    let b = json(&third, "/api/v1/experiments/b");
    assert_eq!(
        (b["status"].as_str(), b["exit_facts"]["end"]["code"].as_i64()),
        (Some("failed"), Some(4)),
        "{b}"
    );
    assert_eq!(asked(&third, "/api/v1/experiments/a/log").lines().count(), 2);
}

#[test]
fn an_answer_that_is_lost_makes_no_second_run() {
    let home = Home::new();
    let desk = desk(&home);
    for (id, lost) in [
        ("start", [("/experiments", 3), ("/end", 0)]),
        ("end", [("/experiments", 0), ("/end", 3)]),
        ("both", [("/experiments", 2), ("/end", 2)]),
    ] {
        let proxy = Proxy::to(desk.url(), &lost);
        let host = Host::reporting_to(&proxy.url);
        let output = host.run(&["--id", id], SCRIPT);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        // meanwhile others use the same id
        let other = Host::reporting_to(desk.url());
        other.run(&["--id", id], "exit 0");
        until("it is delivered", || {
            _ = host.deliver(&[]);
            host.waiting().is_empty()
        });
        assert_eq!(proxy.left(), 0, "{id}");
    }
    assert_eq!(ids(&desk), ["both", "both~2", "end", "end~2", "start", "start~2"]);
    let failed = json(&desk, "/admin/experiments?status=failed");
    assert_eq!(failed["total_count"], 3, "{failed}");
}

#[test]
fn whatever_answers_there_the_run_is_what_it_is() {
    const LATER: &[&str] = &[
        "429 Too Many Requests\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n",
        "503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops",
        "200 OK\r\ncontent-length: 400\r\n\r\n{",
    ];
    const ASIDE: &[(&str, &str)] = &[
        ("401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "coroner token add"),
        ("403 Forbidden\r\ncontent-length: 0\r\n\r\n", "may report"),
        ("404 Not Found\r\ncontent-length: 0\r\n\r\n", "the address of a coroner serve"),
        ("413 Payload Too Large\r\ncontent-length: 0\r\n\r\n", "run.log_limit"),
        ("422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n", "different versions"),
        ("302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n", "redirect"),
        ("200 OK\r\ncontent-length: 13\r\n\r\n<html></html>", "not as a desk does"),
    ];
    for answer in LATER {
        let host = Host::reporting_to(&answering(answer)).with("CORONER_REPORT_WAIT", "1s");
        let output = host.run(&[], SCRIPT);
        let stderr = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(3), "step 1\n".to_owned()),
            "{stderr}"
        );
        assert!(stderr.contains("reported later") && stderr.contains("import_error"), "{answer}: {stderr}");
        let waiting = host.waiting();
        assert!(waiting.len() == 1 && waiting[0]["aside"].is_null(), "{answer}: {waiting:?}");
    }
    for (answer, advice) in ASIDE {
        let host = Host::reporting_to(&answering(answer));
        let output = host.run(&[], SCRIPT);
        let stderr = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(3), "step 1\n".to_owned()),
            "{stderr}"
        );
        assert!(stderr.contains("not reported") && stderr.contains(advice), "{answer}: {stderr}");
        assert!(stderr.lines().any(|line| line.contains("import_error")), "{answer}: {stderr}");
        let waiting = host.waiting();
        assert!(
            waiting.len() == 1 && waiting[0]["aside"].as_str().unwrap().contains(advice),
            "{answer}: {waiting:?}"
        );
        assert_eq!(host.deliver(&[]).0, Some(0), "what is kept aside is left alone");
        assert_eq!(host.deliver(&["--again"]).0, Some(1), "{answer}");
        assert_eq!(host.waiting().len(), 1, "and is kept");
    }
    let host = Host::reporting_to(&silent()).with("CORONER_REPORT_WAIT", "300ms");
    let output = host.run(&[], "exit 0");
    assert!(
        output.status.success() && text(&output.stderr).contains("reported later"),
        "{}",
        text(&output.stderr)
    );
    for url in ["nowhere", "http://ada:pw@example.org"] {
        let output = Host::reporting_to(url).run(&[], "touch started");
        assert!(
            output.status.code() == Some(2) && !text(&output.stderr).contains("pw"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_token_is_asked_for_and_shown_nowhere() {
    let home = Home::new();
    let mut add = home.coroner(&["user", "add", "ada"]);
    add.stdin(std::process::Stdio::piped());
    assert!(crate::rig::with_input(add, b"correct horse\n").status.success());
    let token = |name: &str, scope: &str| {
        text(&home.output(&["token", "add", name, "--scope", scope]).stdout).trim().to_owned()
    };
    let (good, weak) = (token("gpu", "report"), token("reader", "read"));
    let desk = Serving::start_with(
        &home,
        &["--listen", "127.0.0.1:0", "--offline"],
        &[("CORONER_SERVE_AUTH", "on")],
    );
    let wrong = "coroner_0123456789abcdef0123456789abcdef";
    let doctor = |host: &Host| {
        let said = text(&host.coroner(&["doctor"]).output().unwrap().stdout);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let host = Host::reporting_to(desk.url()).with("CORONER_TOKEN", &good);
    let said = doctor(&host);
    assert!(said.contains("where a desk answers and takes them") && !said.contains("✖ report"), "{said}");
    let said = doctor(&host.with("CORONER_REPORT_SPOOL", "/proc/nospool"));
    assert!(said.contains("✖ report reports can't wait in /proc/nospool"), "{said}");
    for (token, why) in [(wrong, "answered 401"), (&weak, "answered 403")] {
        let host = Host::reporting_to(desk.url()).with("CORONER_TOKEN", token);
        let said = doctor(&host);
        assert!(
            said.contains(why) && said.contains("coroner token add") && !said.contains("✓ report"),
            "{said}"
        );
        assert!(!said.contains(token), "{said}");
        let output = host.run(&["--id", "x"], SCRIPT);
        let stderr = text(&output.stderr);
        assert!(
            output.status.code() == Some(3) && stderr.contains(why) && stderr.contains("coroner token add"),
            "{stderr}"
        );
        assert!(!stderr.contains(token), "{stderr}");
        assert_eq!(host.deliver(&["--again"]).0, Some(1));
        // the right one, in a file
        let file = host.home.file("token", &format!("{good}\n"));
        let mended = Host {
            home: host.home,
            variables: vec![("CORONER_REPORT", desk.url().to_owned()), ("CORONER_REPORT_TOKEN_FILE", file)],
        };
        let (status, said) = mended.deliver(&["--again"]);
        assert!(status == Some(0) && said.contains("1 report delivered"), "{said}");
        assert_eq!(mended.waiting().len(), 0);
        let kept = Command::new("grep")
            .args(["-r", &good[8..], "."])
            .current_dir(mended.home.path())
            .output()
            .unwrap();
        assert!(
            text(&kept.stdout).lines().all(|line| line.starts_with("./token:")),
            "{}",
            text(&kept.stdout)
        );
    }
}

#[test]
fn the_doctor_says_where_reports_go_and_what_waits() {
    let host = Host::reporting_to("http://127.0.0.1:9");
    host.run(&[], "exit 1");
    let output = host.coroner(&["doctor"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("reports to http://127.0.0.1:9") && said.contains("1 report waits"), "{said}");
    let list = text(&host.coroner(&["report", "list"]).output().unwrap().stdout);
    assert!(list.contains("for http://127.0.0.1:9  waits"), "{list}");
    // what is for another desk is left alone
    let (status, said) = host.deliver(&["--report", "http://127.0.0.1:10"]);
    assert!(status == Some(0) && said.contains("1 report waits for another desk"), "{said}");
}

/// Every command of docs/fleet.md that can be run here: what stands in a block `sh`, and the jobs' scripts.
#[test]
fn the_commands_of_the_document_work() {
    let home = Home::new();
    let desk = desk(&home);
    let host = Host { home: Home::new(), variables: Vec::new() };
    let document = include_str!("../../../../docs/fleet.md");
    let blocks: Vec<&str> =
        document.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coroner"), host.home.path().join("coroner")).unwrap();
    host.home.file("train.py", "print('step 1')\n");
    for block in &blocks {
        let script = block.replace("https://coroner.example", desk.url());
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &script]);
        host.home.dress(&mut bash);
        bash.env("SLURM_JOB_ID", "17").env("AWS_BATCH_JOB_ID", "b-1");
        let path = std::env::var("PATH").unwrap();
        let output = bash.env("PATH", format!("{}:{path}", host.home.path().display())).output().unwrap();
        assert!(output.status.success(), "{block}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    }
    let ids = ids(&desk);
    assert!(ids.len() >= 2 && ids.iter().any(|id| id.contains("17")), "{ids:?}");
    // the jobs' files are what they are said to be
    let yaml = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(yaml.contains("CORONER_REPORT_SPOOL") && yaml.contains("secretKeyRef"), "{yaml}");
    let json = document.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let job: Value = serde_json::from_str(json).unwrap();
    assert_eq!(job["containerProperties"]["command"][1], "run", "{job}");
}
