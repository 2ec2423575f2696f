//! The task file as it is written, and how it becomes a [`Task`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;

use super::key::{line, nearest, place, quoted};
use super::{
    Adoption, Bounds, CommandEvaluator, Data, Direction, EntryPoint, Environment, Evaluator, Identical,
    Metric, ONE_PROCESS, PolicyChoice, PythonEvaluator, Requirement, Task, TaskError,
};
use crate::quantity::{parse_duration, parse_size};
use crate::sandbox::{Level, Limits};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    description: String,
    seed: Option<PathBuf>,
    #[serde(default)]
    entry_points: Vec<EntryPointFile>,
    evaluator: EvaluatorFile,
    #[serde(default)]
    environment: EnvironmentFile,
    #[serde(default)]
    policy: PolicyFile,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    sandbox: SandboxFile,
    metrics: BTreeMap<String, MetricFile>,
    #[serde(default)]
    adoption: AdoptionFile,
    #[serde(default)]
    proposer: ProposerFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryPointFile {
    name: String,
    #[serde(default)]
    signature: Option<String>,
    process: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluatorFile {
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    candidate: Option<String>,
    #[serde(default)]
    files: Vec<PathBuf>,
    inputs: Option<PathBuf>,
    held_out: Option<PathBuf>,
    prepare: Option<PathBuf>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    forks: bool,
    largest_answer: Option<Size>,
    #[serde(default)]
    config: Option<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentFile {
    python: Option<String>,
    #[serde(default)]
    packages: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    file: Option<PathBuf>,
    #[serde(default)]
    allow_modules: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    wall: Option<Time>,
    cpu: Option<Time>,
    memory: Option<Size>,
    processes: Option<u32>,
    file_size: Option<Size>,
    open_files: Option<u32>,
    work_space: Option<Size>,
    output_kept: Option<Size>,
    output: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SandboxFile {
    level: Option<Level>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricFile {
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    possible: Bounds,
    #[serde(default)]
    require: Bounds,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdoptionFile {
    metric: Option<String>,
    #[serde(default)]
    improve: f64,
    #[serde(default)]
    identical: Identical,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposerFile {
    blocks: Option<PathBuf>,
}

/// "20s", or a number of seconds.
#[derive(Debug, Clone, Copy)]
struct Time(Duration);

/// "512M", or a number of bytes.
#[derive(Debug, Clone, Copy)]
struct Size(u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Text(String),
    Number(f64),
}

impl Quantity {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let time = parse_duration(&Quantity::deserialize(from)?.text()).map_err(D::Error::custom)?;
        if time.is_zero() {
            Err(D::Error::custom("a limit of no time at all lets nothing run"))
        } else {
            Ok(Self(time))
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parse_size(&Quantity::deserialize(from)?.text()).map(Self).map_err(D::Error::custom)
    }
}

impl LimitsFile {
    fn over(self, base: Limits) -> Limits {
        // whoever gives more time on the clock means that it may be used
        let cpu =
            self.cpu.map_or_else(|| base.cpu.max(self.wall.map_or(base.cpu, |wall| wall.0)), |cpu| cpu.0);
        Limits {
            wall: self.wall.map_or(base.wall, |wall| wall.0),
            cpu,
            memory: self.memory.map_or(base.memory, |size| size.0),
            processes: self.processes.unwrap_or(base.processes),
            file_size: self.file_size.map_or(base.file_size, |size| size.0),
            open_files: self.open_files.unwrap_or(base.open_files),
            work_space: self.work_space.map_or(base.work_space, |size| size.0),
            output_kept: self.output_kept.map_or(base.output_kept, |size| size.0),
            output: self.output.map_or(base.output, |size| size.0),
        }
    }
}

/// A task file being read: what its errors need.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    folder: &'a Path,
}

pub(super) fn read(text: &str, path: &Path) -> Result<Task, TaskError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let reader = Reader { text, path, folder };
    let file: File = toml::from_str(text).map_err(|error| reader.of_toml(&error))?;
    reader.task(file)
}

impl Reader<'_> {
    fn of_toml(&self, error: &toml::de::Error) -> TaskError {
        let path = self.path.to_owned();
        let line = line(self.text, error.span().map_or(0, |span| span.start));
        let message = error.message();
        let words = quoted(message);
        match words.split_first() {
            Some((key, known)) if message.starts_with("unknown field") => TaskError::UnknownKey {
                path,
                line,
                key: key.clone(),
                nearest: nearest(key, known),
                known: known.to_vec(),
            },
            Some((key, _)) if message.starts_with("missing field") => {
                let advice = match key.as_str() {
                    "name" => "give it one, such as name = \"codec\"",
                    "evaluator" => {
                        "say what measures a candidate: [evaluator] with file = \"evaluate.py\" or command = [...]"
                    }
                    "metrics" => {
                        "say what is measured: [metrics.score] with direction = \"higher\" or \"lower\""
                    }
                    _ => "see docs/tasks.md",
                };
                TaskError::Missing { path, line, key: key.clone(), advice: advice.to_owned() }
            }
            _ => TaskError::Syntax { path, line, message: message.lines().collect::<Vec<_>>().join(" ") },
        }
    }

    fn value(&self, key: &str, reason: impl Into<String>) -> TaskError {
        let line = line(self.text, place(self.text, key));
        TaskError::Value { path: self.path.to_owned(), line, key: key.to_owned(), reason: reason.into() }
    }

    fn missing(&self, key: &str, advice: &str) -> TaskError {
        let line = line(self.text, place(self.text, key));
        TaskError::Missing {
            path: self.path.to_owned(),
            line,
            key: key.to_owned(),
            advice: advice.to_owned(),
        }
    }

    /// A file or folder beside the task file, which must be there.
    fn there(&self, key: &str, name: &Path, folder: bool) -> Result<PathBuf, TaskError> {
        let path = self.folder.join(name);
        let kind = if folder { "folder" } else { "file" };
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() == folder => Ok(path),
            Ok(_) => Err(self.value(key, format!("{} is no {kind}", path.display()))),
            Err(error) => Err(self.value(
                key,
                format!(
                    "can't read the {kind} {} ({error}); paths start from the folder of the task file",
                    path.display()
                ),
            )),
        }
    }

    fn task(&self, file: File) -> Result<Task, TaskError> {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if file.name.is_empty()
            || file.name.len() > 80
            || !file.name.chars().all(word)
            || file.name.starts_with('.')
        {
            return Err(self.value("name", "it names folders: up to 80 letters, digits, `-`, `_` and `.`"));
        }
        let is_command = file.evaluator.command.is_some();
        let entry_points = self.entry_points(file.entry_points, is_command)?;
        let limits = file.limits.over(Limits::default());
        let evaluator = self.evaluator(file.evaluator, &limits)?;
        let metrics = self.metrics(file.metrics)?;
        let adoption = self.adoption(file.adoption, &metrics)?;
        let python = file.environment.python.as_deref().unwrap_or(">=3.9");
        let python = Requirement::parse(python).map_err(|reason| self.value("environment.python", reason))?;
        if let Some(package) =
            file.environment.packages.iter().find(|p| p.trim().is_empty() || p.starts_with('-'))
        {
            let reason = format!("`{package}` is no package; write it as pip takes it: \"numpy==2.2.6\"");
            return Err(self.value("environment.packages", reason));
        }
        Ok(Task {
            seed: file.seed.map(|seed| self.there("seed", &seed, false)).transpose()?,
            policy: PolicyChoice {
                file: file.policy.file.map(|p| self.there("policy.file", &p, false)).transpose()?,
                allow_modules: file.policy.allow_modules,
            },
            blocks: file.proposer.blocks.map(|p| self.there("proposer.blocks", &p, true)).transpose()?,
            name: file.name,
            description: file.description.trim().to_owned(),
            file: self.path.to_owned(),
            entry_points,
            evaluator,
            environment: Environment { python, packages: file.environment.packages },
            limits,
            level: file.sandbox.level.unwrap_or(Level::C),
            metrics,
            adoption,
        })
    }

    fn entry_points(
        &self,
        given: Vec<EntryPointFile>,
        is_command: bool,
    ) -> Result<Vec<EntryPoint>, TaskError> {
        if given.is_empty() && !is_command {
            return Err(self.missing(
                "entry_points",
                "name the functions that the evaluator calls: [[entry_points]] with name = \"solve\" and signature = \"(n) -> list\"",
            ));
        }
        if is_command && !given.is_empty() {
            return Err(self.value(
                "entry_points",
                "a command runs the whole candidate: entry points go with evaluator.file",
            ));
        }
        let mut points: Vec<EntryPoint> = Vec::new();
        for (i, point) in given.into_iter().enumerate() {
            let is_name = |name: &str| {
                name.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !is_name(&point.name) || ["call", "seconds"].contains(&point.name.as_str()) {
                let reason = format!("`{}` can't be the name of an entry point", point.name);
                return Err(self.value(&format!("entry_points.{i}.name"), reason));
            }
            if points.iter().any(|other| other.name == point.name) {
                let reason = format!("`{}` is there twice", point.name);
                return Err(self.value(&format!("entry_points.{i}.name"), reason));
            }
            let process = point.process.unwrap_or_else(|| ONE_PROCESS.to_owned());
            if !is_name(&process) {
                let reason = format!(
                    "`{process}` can't be the name of a process: a letter, then letters, digits and `_`"
                );
                return Err(self.value(&format!("entry_points.{i}.process"), reason));
            }
            let signature = point.signature.unwrap_or_else(|| "(...)".to_owned());
            points.push(EntryPoint { name: point.name, signature, process });
        }
        Ok(points)
    }

    fn evaluator(&self, given: EvaluatorFile, limits: &Limits) -> Result<Evaluator, TaskError> {
        let data = Data {
            prepare: given.prepare.map(|p| self.there("evaluator.prepare", &p, false)).transpose()?,
            inputs: given.inputs,
            held_out: given.held_out,
        };
        if data.prepare.is_none() {
            // what a script makes can't be looked for before it ran
            for (key, folder) in [("evaluator.inputs", &data.inputs), ("evaluator.held_out", &data.held_out)]
            {
                if let Some(folder) = folder {
                    self.there(key, folder, true)?;
                }
            }
        }
        match (given.file, given.command) {
            (Some(_), Some(_)) => Err(self.value("evaluator.command", "there is evaluator.file too: only one of them can measure")),
            (None, None) => Err(self.missing(
                "evaluator.file",
                "say what measures a candidate: file = \"evaluate.py\", or command = [\"python3\", \"candidate.py\"]",
            )),
            (Some(file), None) => {
                if given.candidate.is_some() {
                    return Err(self.value("evaluator.candidate", "it goes with evaluator.command"));
                }
                let defaults = Limits { cpu: Duration::from_secs(60), wall: Duration::from_secs(60), ..limits.clone() };
                let files: Result<Vec<PathBuf>, TaskError> = given.files.iter().map(|name| {
                    let is_folder = self.folder.join(name).is_dir();
                    self.there("evaluator.files", name, is_folder)
                }).collect();
                Ok(Evaluator::Python(PythonEvaluator {
                    file: self.there("evaluator.file", &file, false)?,
                    files: files?,
                    limits: given.limits.over(defaults),
                    forks: given.forks,
                    largest_answer: given.largest_answer.map_or(64 << 20, |size| size.0),
                    config: serde_json::to_value(given.config.unwrap_or_default())
                        .map_err(|error| self.value("evaluator.config", error.to_string()))?,
                    data,
                }))
            }
            (None, Some(command)) => {
                if command.is_empty() {
                    return Err(self.value("evaluator.command", "it is empty: write [\"python3\", \"candidate.py\"]"));
                }
                let candidate = given.candidate.unwrap_or_else(|| "candidate.py".to_owned());
                if candidate.is_empty() || candidate.contains('/') || candidate.starts_with('.') {
                    return Err(self.value("evaluator.candidate", "it is the name of a file, without a folder"));
                }
                Ok(Evaluator::Command(CommandEvaluator { command, candidate, forks: given.forks, data }))
            }
        }
    }

    fn metrics(&self, given: BTreeMap<String, MetricFile>) -> Result<BTreeMap<String, Metric>, TaskError> {
        if given.is_empty() {
            return Err(self.missing(
                "metrics",
                "say what is measured: [metrics.score] with direction = \"higher\" or \"lower\"",
            ));
        }
        for (name, metric) in &given {
            for (key, bounds) in [("possible", metric.possible), ("require", metric.require)] {
                let crossed = matches!((bounds.min, bounds.max), (Some(min), Some(max)) if min > max);
                if crossed || [bounds.min, bounds.max].into_iter().flatten().any(f64::is_nan) {
                    return Err(self.value(
                        &format!("metrics.{name}.{key}"),
                        "no number lies between its min and its max",
                    ));
                }
            }
        }
        let metric =
            |m: MetricFile| Metric { direction: m.direction, possible: m.possible, require: m.require };
        Ok(given.into_iter().map(|(name, m)| (name, metric(m))).collect())
    }

    fn adoption(
        &self,
        given: AdoptionFile,
        metrics: &BTreeMap<String, Metric>,
    ) -> Result<Adoption, TaskError> {
        if let Some(metric) = given.metric.as_ref().filter(|name| !metrics.contains_key(*name)) {
            let known: Vec<String> = metrics.keys().cloned().collect();
            let meant =
                nearest(metric, &known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            let reason = format!("there is no metric `{metric}`{meant} There are {}", known.join(", "));
            return Err(self.value("adoption.metric", reason));
        }
        if !(0.0..=1000.0).contains(&given.improve) {
            return Err(
                self.value("adoption.improve", "it is a part of the best so far: 0.01 is one in a hundred")
            );
        }
        // a single metric is what is compared
        let only = metrics.keys().next().filter(|_| metrics.len() == 1).cloned();
        let Some(metric) = given.metric.or(only) else {
            return Err(
                self.missing("adoption.metric", "there are several metrics: say which of them is compared")
            );
        };
        Ok(Adoption { metric, improve: given.improve, identical: given.identical })
    }
}
