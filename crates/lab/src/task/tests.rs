//! What a task file may say, and what is said of one that says something else.

use super::*;

const WHOLE: &str = r#"
name = "toy"
description = "Add two numbers."
seed = "seed.py"
[[entry_points]]
name = "add"
signature = "(a, b) -> number"
[[entry_points]]
name = "check"
process = "checker"
[evaluator]
file = "evaluate.py"
inputs = "inputs"
forks = true
limits = { wall = "5s" }
config = { rounds = 3 }
[environment]
python = ">=3.9,<4"
packages = ["numpy==2.2.6"]
[policy]
allow_modules = ["math"]
[limits]
wall = "20s"
memory = "512M"
processes = 8
[sandbox]
level = "B"
[metrics.score]
direction = "higher"
possible = { max = 1 }
require = { min = 0.5 }
[metrics.bytes]
direction = "lower"
[adoption]
metric = "score"
improve = 0.01
identical = "ok"
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["seed.py", "evaluate.py"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("inputs")).unwrap();
    folder
}

fn read(text: &str) -> Result<Task, TaskError> {
    let folder = folder();
    Task::parse(text, &folder.path().join("task.toml"))
}

#[test]
fn a_whole_file_is_read() {
    let task = read(WHOLE).unwrap();
    assert_eq!(task.processes(), [ONE_PROCESS, "checker"]);
    assert_eq!(task.signatures(), ["def add(a, b) -> number", "def check(...)"]);
    assert_eq!(task.limits.wall, Duration::from_secs(20));
    assert_eq!(task.limits.memory, 512 << 20);
    assert_eq!(task.longest(), Duration::from_secs(45));
    assert_eq!(task.level, Level::B);
    assert!(
        task.metrics["score"].possible.broken(1.5) == Some(1.0)
            && task.metrics["score"].require.broken(0.5).is_none()
    );
    assert_eq!(task.metrics["bytes"].direction, Direction::Lower);
    let Evaluator::Python(evaluator) = &task.evaluator else { panic!() };
    assert_eq!(evaluator.config, serde_json::json!({"rounds": 3}));
    assert!(task.is_python() && evaluator.forks && evaluator.limits.wall == Duration::from_secs(5));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    let with = |from: &str, to: &str| {
        assert!(WHOLE.contains(from), "{from}");
        WHOLE.replacen(from, to, 1)
    };
    for (text, line, parts) in [
        (with("seed = ", "sead = "), 4, &["unknown key `sead`", "did you mean `seed`"][..]),
        (with("memory =", "memry ="), 24, &["unknown key `memry`", "`memory`"]),
        (with("[adoption]", "[adaption]"), 34, &["unknown key `adaption`", "`adoption`"]),
        (with("file = \"evaluate.py\"", ""), 11, &["`evaluator.file` is missing", "evaluate.py"]),
        (with("evaluate.py", "evaluator.py"), 12, &["evaluator.py", "No such file", "start from the folder"]),
        (with("inputs = \"inputs\"", "inputs = \"seed.py\""), 13, &["is no folder"]),
        (with("name = \"toy\"", "name = \"../toy\""), 2, &["`name`", "letters, digits"]),
        (with("name = \"toy\"", ""), 1, &["`name` is missing"]),
        (with("20s", "soon"), 23, &["`soon` is not a duration", "90s"]),
        (with("20s", "0s"), 23, &["no time at all"]),
        (with("512M", "much"), 24, &["`much` is not a size"]),
        (with("\"B\"", "\"Z\""), 27, &["unknown variant `Z`", "`A`"]),
        (with("higher", "up"), 29, &["unknown variant `up`", "`higher`"]),
        (
            with("metric = \"score\"", "metric = \"scores\""),
            35,
            &["no metric `scores`", "did you mean `score`?", "bytes, score"],
        ),
        (with("metric = \"score\"", ""), 34, &["`adoption.metric` is missing", "several"]),
        (with("improve = 0.01", "improve = -1"), 36, &["part of the best"]),
        (with(">=3.9,<4", "three"), 18, &["names no versions of Python"]),
        (with("numpy==2.2.6", "--index-url=x"), 19, &["is no package"]),
        (with("name = \"check\"", "name = \"add\""), 9, &["twice"]),
        (with("name = \"check\"", "name = \"call\""), 9, &["can't be the name"]),
        (with("max = 1 }", "max = 1, min = 2 }"), 30, &["no number lies between"]),
        (with("file = \"evaluate.py\"", "command = [\"a\"]"), 5, &["entry points go with evaluator.file"]),
        (with("name = \"toy\"", "name = toy"), 2, &[]),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("task.toml:{line}: ")), "{line}: {error}");
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    let error = Task::load(Path::new("/no/such/task.toml")).unwrap_err().to_string();
    assert!(error.contains("can't read /no/such/task.toml"), "{error}");
}

#[test]
fn a_command_needs_no_entry_points_and_a_single_metric_is_the_one() {
    let task = read("name = 'c'\n[evaluator]\ncommand = ['julia', 'candidate.jl']\ncandidate = 'candidate.jl'\n[metrics.loss]\ndirection = 'lower'\n").unwrap();
    assert!(!task.is_python());
    assert_eq!(task.adoption.metric, "loss");
    assert_eq!(task.longest(), task.limits.wall);
    assert_eq!(task.score(&BTreeMap::from([("loss".to_owned(), 2.0)])), Some(2.0));
}

#[test]
fn versions_of_python_are_compared_as_versions() {
    for (text, version, met) in [
        (">=3.9", [3, 11, 7], true),
        (">=3.9", [3, 8, 19], false),
        (">=3.10,<3.13", [3, 13, 0], false),
        (">=3.10,<3.13", [3, 12, 9], true),
        ("3.11", [3, 11, 7], true),
        ("==3.11.*", [3, 11, 7], true),
        ("3.1", [3, 11, 7], false),
        ("!=3.11.7", [3, 11, 7], false),
        (">3.11", [3, 11, 7], false),
        ("<=3.11", [3, 11, 7], true),
    ] {
        assert_eq!(Requirement::parse(text).unwrap().is_met_by(version), met, "{text} {version:?}");
    }
    for wrong in ["", ">=", "python3", ">=3.x"] {
        assert!(Requirement::parse(wrong).unwrap_err().contains("write it as"), "{wrong}");
    }
}
