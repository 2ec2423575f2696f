//! The loop with the real binary, the real sandbox and a tiny task; killed at any moment, with a model and without one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use coroner_store::{Candidate, Run, Scope, Status, Within};
use serde_json::{Value, json};

use crate::on_dynamodb;
use crate::rig::{Home, text};

const TASK: &str = r#"
name = "line"
description = "Return 3 * x + 7."
seed = "seed.py"
[[entry_points]]
name = "value"
signature = "(x) -> float"
[evaluator]
file = "evaluate.py"
[limits]
cpu = "5s"
wall = "10s"
[metrics.error]
direction = "lower"
"#;
const SEED: &str = "A = 1.0\nB = 2.0\n\n\ndef value(x):\n    y = A * x\n    return y + B\n";
const EVALUATE: &str = "
from coroner_task import task


def evaluate(candidate, inputs):
    error = 0.0
    for x in (0.0, 1.0, 5.0):
        answer = candidate.value(x)
        if not isinstance(answer, (int, float)):
            raise task.Invalid(f'value({x}) returned {answer!r:.80} instead of a number')
        error += abs(answer - (3.0 * x + 7.0))
    return {'error': error}
";

pub(crate) fn home() -> Home {
    let home = Home::new();
    home.file("task.toml", TASK);
    home.file("seed.py", SEED);
    home.file("evaluate.py", EVALUATE);
    home.file("tmp/.keep", "");
    home
}

fn evolve(home: &Home, words: &[&str]) -> Command {
    let all: Vec<&str> = ["evolve", "task.toml", "--offline"].iter().chain(words).copied().collect();
    let mut command = home.coroner(&all);
    command.env("TMPDIR", home.path().join("tmp"));
    command
}

pub(crate) fn done(home: &Home, words: &[&str]) -> Output {
    evolve(home, words).output().unwrap()
}

/// Where nothing can be run in a sandbox there is nothing to try.
#[expect(clippy::print_stderr, reason = "a test that can't run says so")]
pub(crate) fn can_run(output: &Output, test: &str) -> bool {
    let said = text(&output.stderr);
    let can = !said.contains("sandbox") || output.status.success();
    if !can {
        eprintln!("skipped: {test}: {}", said.lines().last().unwrap_or(""));
    }
    can
}

fn kept(home: &Home) -> (Vec<Run>, Vec<Candidate>, coroner_store::Costs, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = on_dynamodb::store(home).await;
        let runs = store.runs(Some("line"), 100).await.unwrap();
        let candidates = store.candidates(runs[0].id).await.unwrap();
        let within = Within { scope: Scope::Run(runs[0].id), ..Within::default() };
        let costs = store.costs(within).await.unwrap();
        let total = store.costs(Within::default()).await.unwrap().total.experiments;
        (runs, candidates, costs, total)
    })
}

/// What must be true of a run whatever happened to it.
fn assert_sound(home: &Home) -> Vec<Candidate> {
    let (runs, candidates, costs, total) = kept(home);
    assert_eq!(runs.len(), 1, "it went on with the same run");
    let mut tests: HashMap<&str, Vec<Status>> = HashMap::new();
    for it in &candidates {
        assert_ne!(it.status, Status::Running, "exp {} has no end", it.number);
        tests.entry(&it.code_hash).or_default().push(it.status);
    }
    for (hash, ends) in &tests {
        // the baseline is tested again if it was lost, for nothing goes on without it
        let whole = ends.iter().filter(|end| **end != Status::Lost).count();
        assert!(whole <= 1 && (ends.len() == 1 || candidates[0].code_hash == *hash), "{hash}: {ends:?}");
    }
    assert_eq!(costs.total.experiments, candidates.len() as u64, "a recount");
    assert_eq!(total, candidates.len() as u64, "a recount of everything");
    let failed = candidates.iter().filter(|c| c.status == Status::TestFailed).count() as u64;
    let lost = candidates.iter().filter(|c| c.status == Status::Lost).count() as u64;
    assert_eq!(costs.lost.experiments, failed + lost, "a recount of failures");
    assert!(candidates.iter().filter(|c| c.status == Status::Lost).all(|c| c.rerun || c.replaced), "marked");
    candidates
}

fn lineage(home: &Home) -> Vec<Value> {
    let path = home.path().join(".local/share/coroner/versions/line/lineage.jsonl");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
pub(crate) fn it_improves_a_program_and_says_what_failed() {
    let home = home();
    let output = done(&home, &["--generations", "40", "--workers", "2"]);
    if !can_run(&output, "it_improves_a_program_and_says_what_failed") {
        return;
    }
    let (said, noted) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{noted}");
    assert!(said.starts_with("run 1 of line: 41 candidates, "), "{said}");
    for word in ["Best", "Lineage", "Failed", "Causes", "Lost", "Programs", "Next", "baseline"] {
        assert!(said.contains(&format!("  {word}")) || said.contains(word), "no {word}:\n{said}");
    }
    assert!(
        noted.lines().filter(|line| line.contains("  exp ") || line.starts_with("   ")).count() >= 41,
        "{noted}"
    );
    let candidates = assert_sound(&home);
    assert_eq!(candidates.len(), 41);
    let adopted = candidates.iter().filter(|c| c.status == Status::Adopted).count();
    assert!(adopted > 1, "{said}");
    assert_eq!(lineage(&home).len(), adopted);
    let first = candidates[0].score.unwrap();
    assert!(candidates.iter().any(|c| c.status == Status::Adopted && c.score.unwrap() < first));
    // what failed has a diagnosis each
    assert!(candidates.iter().all(|c| c.status != Status::TestFailed || c.failure.is_some()));

    // finished: the same words begin another run, `--run` with more goes on
    let output = done(&home, &["--run", "1", "--generations", "42", "--format", "json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["run"], &answer["candidates"]), (&json!(1), &json!(43)), "{answer}");
    assert_eq!(answer["ended"], "done");
}

/// Numbers that look like chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn wanted(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Processes that have this folder in their environment.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(folder) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
pub(crate) fn a_kill_at_any_moment_loses_nothing_and_tests_nothing_twice() {
    let kills = wanted("CORONER_KILLS", 4);
    let home = home();
    let output = done(&home, &["--generations", "2"]);
    if !can_run(&output, "a_kill_at_any_moment_loses_nothing_and_tests_nothing_twice") {
        return;
    }
    let mut chance = Chance(wanted("CORONER_SEED", 7));
    let mut tested = Vec::new();
    for _ in 0..kills {
        let words = ["--run", "1", "--generations", "1000000", "--workers", "2", "--quiet"];
        let mut child = evolve(&home, &words).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50 + chance.below(2_500)));
        child.kill().unwrap();
        child.wait().unwrap();
        tested.push(kept(&home).1.len());
    }
    // what they left is taken down before anything is counted
    let output = done(&home, &["--run", "1", "--generations", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let candidates = assert_sound(&home);
    let adopted = candidates.iter().filter(|c| c.status == Status::Adopted).count();
    assert_eq!(lineage(&home).len(), adopted, "every program that was taken over has its file");
    let lost = candidates.iter().filter(|c| c.status == Status::Lost).count();
    eprintln!(
        "{kills} kills: {} candidates, {lost} lost and marked; after each kill {tested:?}",
        candidates.len()
    );

    // and those that were lost are tested when somebody says so
    let output = done(&home, &["--run", "1", "--generations", "1", "--rerun"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_, candidates, ..) = kept(&home);
    assert!(candidates.iter().all(|c| !c.rerun), "no mark is left");
    assert_eq!(candidates.iter().filter(|c| c.replaced).count(), lost);
    crate::rig::until("what was killed is gone", || processes_of(home.path()).is_empty());
}

#[test]
fn many_candidates_leave_nothing_behind() {
    let many = wanted("CORONER_CANDIDATES", 60);
    let home = home();
    let generations = many.to_string();
    let mut child = evolve(&home, &["--generations", &generations, "--quiet"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let proc = format!("/proc/{}", child.id());
    let mut samples: Vec<(usize, u64, usize)> = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let descriptors = std::fs::read_dir(format!("{proc}/fd")).map_or(0, Iterator::count);
        let memory = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        let memory = memory.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        let files = std::fs::read_dir(home.path().join("tmp")).map_or(0, Iterator::count);
        samples.push((descriptors, memory, files));
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let output = done(&home, &["--generations", "1"]);
        assert!(!can_run(&output, "many_candidates_leave_nothing_behind"), "{}", text(&output.stderr));
        return;
    }
    assert_sound(&home);
    let part = |from: usize, to: usize| {
        let slice = &samples[samples.len() * from / 4..samples.len() * to / 4];
        // between two tests there are few: what leaks is what these grow by
        let least = |value: &dyn Fn(&(usize, u64, usize)) -> u64| slice.iter().map(value).min().unwrap_or(0);
        let most = |value: &dyn Fn(&(usize, u64, usize)) -> u64| slice.iter().map(value).max().unwrap_or(0);
        (least(&|s| s.0 as u64), most(&|s| s.1), least(&|s| s.2 as u64))
    };
    let (early, late) = (part(1, 2), part(3, 4));
    eprintln!(
        "{many} candidates: descriptors, KiB, temporary files: {early:?} in the second quarter, {late:?} in the last"
    );
    assert!(late.0 <= early.0 + 8, "descriptors: {early:?} {late:?}");
    assert!(late.2 <= early.2 + 4, "temporary files: {early:?} {late:?}");
    // the history grows with the candidates, a few KiB for each
    assert!(late.1 <= early.1 + 16 * 1024 + many * 32, "memory: {early:?} {late:?}");
    assert_eq!(std::fs::read_dir(home.path().join("tmp")).unwrap().count(), 1, "temporary files are gone");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours: Vec<_> = mounts.lines().filter(|line| line.contains(home.path().to_str().unwrap())).collect();
    assert_eq!(ours, Vec::<&str>::new(), "mounts below our home");
    crate::rig::until("all processes are gone", || processes_of(home.path()).is_empty());
}

#[test]
pub(crate) fn an_interrupt_ends_it_cleanly_and_it_goes_on() {
    let home = home();
    let output = done(&home, &["--generations", "1"]);
    if !can_run(&output, "an_interrupt_ends_it_cleanly_and_it_goes_on") {
        return;
    }
    let mut command = evolve(&home, &["--run", "1", "--generations", "1000000"]);
    command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    crate::rig::until("some were tested", || kept(&home).1.len() > 5);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stdout).contains("goes on where it stopped"), "{}", text(&output.stdout));
    let candidates = assert_sound(&home);
    assert!(candidates.iter().all(|c| c.status != Status::Lost), "what was being tested was waited for");
    let more = (candidates.len() + 1).to_string();
    let output = done(&home, &["--generations", &more]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("going on with run 1"), "{}", text(&output.stderr));
    assert_eq!(assert_sound(&home).len(), candidates.len() + 2);
}

#[test]
pub(crate) fn an_evaluator_that_breaks_stops_it_with_one_report() {
    let home = home();
    home.file(
        "evaluate.py",
        "
def evaluate(candidate, inputs):
    error = abs(candidate.value(1.0) - 10.0)
    if error != 7.0:
        raise OSError('the rig is on fire')
    return {'error': error}
",
    );
    let output = done(&home, &["--generations", "50"]);
    if output.status.code() != Some(1)
        && !can_run(&output, "an_evaluator_that_breaks_stops_it_with_one_report")
    {
        return;
    }
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}\n{}", text(&output.stderr));
    assert!(said.contains("it is the fault of: harness") && said.contains("--rerun"), "{said}");
    let (_, candidates, ..) = kept(&home);
    assert_eq!(candidates.iter().filter(|c| c.rerun).count(), 3, "{said}");

    home.file("evaluate.py", EVALUATE);
    let output = done(&home, &["--generations", "5", "--rerun"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_, candidates, ..) = kept(&home);
    assert!(candidates.iter().all(|c| !c.rerun));
    assert!(text(&output.stderr).contains("tested again, what became of it was not its fault"));
}

#[test]
pub(crate) fn a_model_writes_candidates_and_its_useless_replies_are_failures_of_the_provider() {
    let home = home();
    let program = |a: &str| json!({"text": format!("Change: another slope\n```python\n{}```\n", SEED.replace("1.0", a))});
    let script = [
        program("2.0"),
        json!({"text": "I'd rather not."}),
        program("2.0"),
        json!({"failure": "refused", "detail": "the model declined"}),
        program("3.0"),
        json!({"failure": "over_budget", "detail": "today's budget is spent"}),
    ];
    home.file("script.jsonl", &script.iter().map(|line| format!("{line}\n")).collect::<String>());
    let words = ["evolve", "task.toml", "--proposer", "model", "--generations", "50"];
    let mut command = home.coroner(&words);
    command.env("CORONER_MODEL_SCRIPT", "script.jsonl").env("CORONER_MODEL_ASK", "never");
    let output = command.output().unwrap();
    if !can_run(&output, "a_model_writes_candidates") {
        return;
    }
    let (said, noted) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{noted}");
    assert!(said.contains("today's budget is spent"), "{said}");
    let (_, candidates, ..) = kept(&home);
    let ends: Vec<(Status, Option<String>)> =
        candidates.iter().map(|c| (c.status, c.failure.as_ref().map(|f| f.origin.to_string()))).collect();
    let provider = (Status::TestFailed, Some("provider".to_owned()));
    assert_eq!(ends.len(), 5, "{ends:?}");
    assert_eq!(
        (&ends[1].0, &ends[2], &ends[3], &ends[4].0),
        (&Status::Adopted, &provider, &provider, &Status::Adopted)
    );
    assert!(noted.contains("the same code as exp 2"), "{noted}");
    assert!(candidates[1].proposal_cost.input_tokens > 0 && candidates[1].change == "another slope");
    let causes: BTreeMap<&str, usize> =
        candidates.iter().filter_map(|c| c.failure.as_ref()).fold(BTreeMap::new(), |mut all, failure| {
            *all.entry(failure.signature.as_str()).or_default() += 1;
            all
        });
    assert_eq!(causes.len(), 2, "two ways of being useless: {causes:?}");
}

#[test]
pub(crate) fn programs_that_were_taken_over_are_committed_and_nothing_else() {
    let home = home();
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(home.path()).args(words);
        home.dress(&mut command);
        command.output().unwrap()
    };
    if !git(&["init", "--quiet"]).status.success() {
        eprintln!("skipped: programs_that_were_taken_over_are_committed_and_nothing_else: no git");
        return;
    }
    for pair in [["user.name", "Ada"], ["user.email", "ada@example.org"]] {
        git(&["config", pair[0], pair[1]]);
    }
    let output = done(&home, &["--generations", "15", "--git"]);
    if !can_run(&output, "programs_that_were_taken_over_are_committed_and_nothing_else") {
        return;
    }
    let adopted = kept(&home).1.iter().filter(|c| c.status == Status::Adopted).count();
    let log = text(&git(&["log", "--format=%s", "--name-only"]).stdout);
    assert_eq!(log.lines().filter(|line| line.starts_with("coroner: exp ")).count(), adopted, "{log}");
    let files: Vec<&str> = log.lines().filter(|line| line.contains(".py")).collect();
    assert!(files.len() == adopted && files.iter().all(|file| file.starts_with("versions/v0")), "{log}");
}

#[test]
fn the_ablation_runs_three_kinds_of_feedback_and_keeps_nothing() {
    let home = home();
    let output = done(&home, &["--ablate", "--seeds", "4..4", "--generations", "6", "--format", "json"]);
    if !can_run(&output, "the_ablation_runs_three_kinds_of_feedback_and_keeps_nothing") {
        return;
    }
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lanes = answer["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 3, "{answer}");
    assert!(lanes.iter().all(|lane| lane["candidates"] == 6), "{answer}");
    assert!(!home.path().join(".local/share/coroner/coroner.db").exists());
}

/// What the README shows first.
#[test]
fn trying_it_explains_a_run_and_searches() {
    let home = home();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/try");
    let mut command = std::process::Command::new(script);
    command.args(["--generations", "3"]);
    home.dress(&mut command);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let output = command.env("CORONER", env!("CARGO_BIN_EXE_coroner")).output().unwrap();
    if !can_run(&output, "trying_it_explains_a_run_and_searches") {
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (page, card) = (text(&output.stdout), text(&output.stderr));
    assert!(
        card.contains("KeyError") && page.contains("its status, 1, is the training's own"),
        "{page}{card}"
    );
    assert!(page.contains("run 1 of bare: 4 candidates"), "{page}");
}

#[test]
fn an_interrupted_ablation_says_what_it_has() {
    use std::io::{BufRead, BufReader};
    let home = home();
    let mut command =
        evolve(&home, &["--ablate", "--seeds", "4..4", "--generations", "1000000", "--format", "json"]);
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("searches of 1000000") && lines.read_line(&mut said).unwrap() > 0 {}
    let begun = said.contains("searches of 1000000");
    if begun {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }
    std::io::Read::read_to_string(&mut lines, &mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    let output = std::process::Output { stderr: said.into_bytes(), ..output };
    if !can_run(&output, "an_interrupted_ablation_says_what_it_has") {
        return;
    }
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lanes = answer["lanes"].as_array().unwrap();
    assert!(lanes.len() == 3 && lanes.iter().all(|lane| lane["ended"] == "stopped"), "{answer}");
}

#[test]
fn what_can_t_be_used_is_said_before_anything_runs() {
    let home = home();
    home.file("unknown.toml", &TASK.replace("seed =", "sead ="));
    home.file("seedless.toml", &TASK.replace("seed = \"seed.py\"", ""));
    for (words, status, said) in [
        (&["evolve", "nothing.toml"][..], 2, "nothing.toml"),
        (&["evolve", "unknown.toml"], 2, "sead"),
        (&["evolve", "seedless.toml"], 2, "names no first candidate"),
        (&["evolve", "task.toml", "--run", "7"], 2, "7"),
        (&["evolve", "task.toml", "--ablate", "--proposer", "model"], 2, "leave out --proposer model"),
        (&["evolve", "task.toml", "--proposer", "model", "--new"], 2, "there is no model"),
        (&["evolve", "task.toml", "--feedback", "some"], 2, "diagnosis"),
    ] {
        let output = home.output(words);
        let noted = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {noted}");
        assert!(noted.contains(said), "{words:?}: {noted}");
    }
}
