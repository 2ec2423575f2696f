//! Programs that fail in one named way (fixtures/experiments), in the real sandbox: how they must end there, and what a
//! good diagnosis says.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::rig::{Home, text};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// One that says what happens to it in the sandbox.
struct Specimen {
    name: String,
    want: Value,
}

impl Specimen {
    fn all() -> Vec<Self> {
        let mut found: Vec<Self> = fs::read_dir(fixtures().join("experiments"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(|path| Self {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                want: serde_json::from_slice(&fs::read(path.join("expected.json")).unwrap()).unwrap(),
            })
            .filter(|specimen| specimen.want["sandbox"].is_object())
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    fn asked(&self, key: &str) -> Vec<String> {
        words(&self.want["sandbox"][key])
    }

    /// What it needs that this machine has not got.
    fn missing(&self, level: &str) -> Option<String> {
        let weakest = self.want["sandbox"]["level"].as_str().unwrap_or("C");
        if level > weakest {
            return Some(format!("needs the sandbox's level {weakest}, and there is {level}"));
        }
        if self.want["sandbox"]["unless_level"] == level {
            return Some(format!("level {level} is there, and this is about its absence"));
        }
        let mut needs = words(&self.want["needs"]);
        needs.extend(self.asked("needs"));
        needs.into_iter().find(|need| !is_program(need)).map(|need| format!("needs {need}"))
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The sandbox shows what lies in the system's own folders.
fn is_program(name: &str) -> bool {
    ["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|folder| Path::new(folder).join(name).is_file())
}

/// What came of a specimen.
struct Seen {
    diagnosis: Value,
    report: Value,
    status: Value,
    printed: String,
}

/// A copy of the specimen and of the tasks, as they lie in the repository.
fn laid_out(specimen: &Specimen) -> (Home, PathBuf) {
    let home = Home::new();
    for part in ["tasks".to_owned(), format!("experiments/{}", specimen.name)] {
        copy(&fixtures().join(&part), &home.path().join(&part));
    }
    let folder = home.path().join("experiments").join(&specimen.name);
    (home, folder)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn output(mut command: Command, folder: &Path, specimen: &Specimen) -> std::process::Output {
    for pair in specimen.want["sandbox"]["environment"].as_object().into_iter().flatten() {
        command.env(pair.0, pair.1.as_str().unwrap());
    }
    command.current_dir(folder).output().unwrap()
}

fn seen(specimen: &Specimen) -> Seen {
    let (home, folder) = laid_out(specimen);
    let said = |output: &std::process::Output| format!("{}{}", text(&output.stdout), text(&output.stderr));
    if let Some(candidate) = specimen.want["sandbox"]["test"].as_str() {
        let task = specimen.want["sandbox"]["task"].as_str().unwrap();
        let test = |candidate: &str| {
            let words = ["--format", "json", "test", candidate, "--task", task];
            output(home.coroner(&words), &folder, specimen)
        };
        for earlier in specimen.asked("after") {
            test(&earlier);
        }
        let output = test(candidate);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        return Seen {
            diagnosis: answer["failure_analysis"].clone(),
            report: answer["report"].clone(),
            status: answer["status"].clone(),
            printed: said(&output),
        };
    }
    let (options, run) = (specimen.asked("options"), specimen.asked("run"));
    let mut line = vec!["run", "--sandbox", "--level", "C", "--id", "it", "--diagnosis", "diagnosis.json"];
    line.extend(options.iter().map(String::as_str));
    line.push("--");
    line.extend(run.iter().map(String::as_str));
    let output = output(home.coroner(&line), &folder, specimen);
    let kept = home.output(&["--format", "json", "show", "it"]);
    let kept: Value = serde_json::from_slice(&kept.stdout).unwrap_or_default();
    let diagnosis =
        fs::read(folder.join("diagnosis.json")).map(|json| serde_json::from_slice(&json).unwrap());
    Seen {
        diagnosis: diagnosis.unwrap_or_default(),
        report: kept.clone(),
        status: kept["status"].clone(),
        printed: said(&output),
    }
}

impl Seen {
    /// What is not as its maker says.
    fn wrong(&self, specimen: &Specimen) -> Vec<String> {
        let want = &specimen.want;
        let mut wrong = Vec::new();
        let end = if want["sandbox"]["end"].is_null() { &want["exit"] } else { &want["sandbox"]["end"] };
        let ended = &self.report["exit"]["end"];
        if !end.is_null()
            && !end.as_object().unwrap().iter().all(|(key, value)| key == "limit" || ended[key] == *value)
        {
            wrong.push(format!("ended with {ended}, not {end}"));
        }
        if want["category"].is_null() {
            if !self.diagnosis.is_null() {
                wrong.push(format!("a success is diagnosed: {}", self.diagnosis["root_cause"]));
            }
            return wrong;
        }
        if self.diagnosis.is_null() {
            wrong.push(format!("there is no diagnosis: {}", self.printed.trim()));
            return wrong;
        }
        if let Some(status) = want["sandbox"]["status"].as_str()
            && self.status != status
        {
            wrong.push(format!("status {} and not {status}", self.status));
        }
        for (field, accepted) in
            [("failure_category", "accept"), ("origin", "origin"), ("severity", "severity")]
        {
            if !words(&want[accepted]).iter().any(|word| self.diagnosis[field] == **word) {
                wrong.push(format!("{field} {} and not {}", self.diagnosis[field], want[accepted]));
            }
        }
        let cause = self.diagnosis["root_cause"].as_str().unwrap_or_default();
        for part in specimen.asked("says").iter().filter(|part| !cause.contains(*part)) {
            wrong.push(format!("the cause does not say `{part}`"));
        }
        let evidence = self.diagnosis["evidence"].as_array().into_iter().flatten();
        let cited: Vec<&str> = evidence.filter_map(|item| item["text"].as_str()).chain([cause]).collect();
        let why = words(&want["cause"]);
        if !why.is_empty() && !why.iter().any(|part| cited.iter().any(|text| text.contains(part.as_str()))) {
            wrong.push(format!("no cited line says {why:?}: {cited:?}"));
        }
        let refused = [&self.diagnosis["sandbox"]["denied"], &self.report["denied"]];
        let refused = refused.into_iter().filter_map(Value::as_array).flatten();
        let refused: Vec<&str> = refused.filter_map(|denied| denied["call"].as_str()).collect();
        for call in specimen.asked("denied").iter().filter(|call| !refused.contains(&call.as_str())) {
            wrong.push(format!("`{call}` is not among the refused calls {refused:?}"));
        }
        for secret in words(&want["secrets"]) {
            if self.diagnosis.to_string().contains(&secret) {
                wrong.push(format!("shows the secret {secret}"));
            }
        }
        if !wrong.is_empty() {
            let rule = &self.diagnosis["verdict"]["rule"];
            wrong.push(format!("rule {rule}: {cause}"));
        }
        wrong
    }
}

/// The level that the sandbox has here, or why there is none.
fn level() -> Result<String, String> {
    let home = Home::new();
    let output = home.output(&[
        "run",
        "--sandbox",
        "--level",
        "C",
        "--diagnosis",
        "it.json",
        "--",
        "sh",
        "-c",
        "exit 3",
    ]);
    let json = fs::read(home.path().join("it.json")).map_err(|_| text(&output.stderr))?;
    let diagnosis: Value = serde_json::from_slice(&json).unwrap();
    Ok(diagnosis["sandbox"]["level"].as_str().unwrap_or("D").to_owned())
}

#[test]
fn every_specimen_is_judged_in_the_sandbox_as_its_maker_says() {
    let level = match level() {
        Ok(level) => level,
        Err(why) => return eprintln!("skipped: specimens: there is no sandbox here: {}", why.trim()),
    };
    let all = Specimen::all();
    assert!(all.len() >= 40, "{} specimens", all.len());
    let waiting: Mutex<VecDeque<&Specimen>> = Mutex::new(all.iter().collect());
    let wrong: Mutex<Vec<(String, Vec<String>)>> = Mutex::new(Vec::new());
    // most of them wait for a limit, and few of them compute
    let at_once = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(specimen) = waiting.lock().unwrap().pop_front() else { return };
                    if let Some(reason) = specimen.missing(&level) {
                        eprintln!("skipped: specimens::{}: {reason}", specimen.name);
                        continue;
                    }
                    let found = seen(specimen).wrong(specimen);
                    if !found.is_empty() {
                        wrong.lock().unwrap().push((specimen.name.clone(), found));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    let table: String =
        wrong.iter().map(|(name, found)| format!("{name}\n    {}\n", found.join("\n    "))).collect();
    assert!(wrong.is_empty(), "{} of {} at level {level}:\n{table}", wrong.len(), all.len());
}
