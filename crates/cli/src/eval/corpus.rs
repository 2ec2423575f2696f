//! A labelled corpus as eval reads it: `k1.jsonl` (which lines show the cause), `k2.jsonl` (category, severity) and
//! `seed-cases.jsonl` (category, severity, origin). Any of the three may be absent, and one alone may be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use coroner_diagnosis::{Category, Origin, Severity};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The three kinds of cases.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    pub(crate) root: PathBuf,
    pub(crate) lines: Vec<LineCase>,
    pub(crate) labels: Vec<LabelCase>,
    pub(crate) seeds: Vec<SeedCase>,
}

/// A log and the lines that show the cause.
#[derive(Debug, Deserialize)]
pub(crate) struct LineCase {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) project: String,
    pub(crate) log_path: PathBuf,
    pub(crate) truth_lines: BTreeSet<u64>,
    #[serde(default)]
    pub(crate) truth_text: String,
    #[serde(default)]
    pub(crate) also_lines: BTreeSet<u64>,
    #[serde(default)]
    pub(crate) repeat_lines: BTreeSet<u64>,
    #[serde(default)]
    pub(crate) truth_spans: Vec<(u64, u64)>,
    #[serde(default)]
    pub(crate) any_one_span: bool,
    #[serde(default)]
    pub(crate) wide_truth: bool,
    #[serde(default)]
    pub(crate) tier: String,
    #[serde(default)]
    pub(crate) pass_log_path: Option<PathBuf>,
}

/// A failure with its category and severity.
#[derive(Debug, Deserialize)]
pub(crate) struct LabelCase {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) project: String,
    #[serde(default)]
    pub(crate) error_message: String,
    #[serde(default)]
    pub(crate) log: Option<String>,
    #[serde(default)]
    pub(crate) code: Option<String>,
    pub(crate) category: Category,
    #[serde(default)]
    pub(crate) also: Vec<Category>,
    #[serde(default)]
    pub(crate) ambiguous: bool,
    pub(crate) severity: Severity,
    #[serde(default)]
    pub(crate) root_cause: Option<String>,
}

/// A failure of the original loop.
#[derive(Debug, Deserialize)]
pub(crate) struct SeedCase {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) experiment_type: Option<String>,
    #[serde(default)]
    pub(crate) error_message: String,
    #[serde(default)]
    pub(crate) logs: Option<String>,
    #[serde(default)]
    pub(crate) code_snippet: Option<String>,
    pub(crate) expected: Expected,
}

/// What a seed case should be judged as.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) category: Category,
    pub(crate) accept: Vec<Category>,
    pub(crate) severity: Severity,
    pub(crate) origin: Origin,
}

impl Corpus {
    /// Reads what there is: a folder with some of the three files, or one file, whose cases say themselves what they are.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).with_context(|| format!("can't read the corpus {}", path.display()))?;
        let corpus = if meta.is_dir() {
            Self {
                root: path.to_owned(),
                lines: read(&path.join("k1.jsonl"))?,
                labels: read(&path.join("k2.jsonl"))?,
                seeds: read(&path.join("seed-cases.jsonl"))?,
            }
        } else {
            Self::of_file(path)?
        };
        if corpus.lines.is_empty() && corpus.labels.is_empty() && corpus.seeds.is_empty() {
            bail!(
                "{} holds no cases; name a folder with k1.jsonl, k2.jsonl or seed-cases.jsonl, or one of these files",
                path.display()
            );
        }
        Ok(corpus)
    }

    fn of_file(path: &Path) -> Result<Self> {
        let root = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut corpus = Self { root, ..Self::default() };
        for case in read(path)? {
            match case {
                Case::Lines(case) => corpus.lines.push(*case),
                Case::Label(case) => corpus.labels.push(*case),
                Case::Seed(case) => corpus.seeds.push(*case),
            }
        }
        Ok(corpus)
    }
}

/// Any of the three.
#[derive(Deserialize)]
#[serde(untagged)]
enum Case {
    Lines(Box<LineCase>),
    Label(Box<LabelCase>),
    Seed(Box<SeedCase>),
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("can't read {}", path.display())),
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{} is not a case", path.display(), i + 1))
        })
        .collect()
}
