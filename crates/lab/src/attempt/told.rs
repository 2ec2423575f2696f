//! What the evaluator reports, over a channel that the candidate has no part in.

use serde::Deserialize;

/// Bytes of one report; a metric is a name and a number, and a thousand of them are not this long.
const LONGEST_LINE: usize = 1 << 20;
/// Bytes of all reports together.
const LONGEST: usize = 64 << 20;

/// One report.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// How far it is.
    Progress(f64, f64),
    /// Something that is kept beside the metrics.
    Note(String),
    /// The candidate's answer is wrong.
    Invalid(String),
    /// The candidate raised an exception.
    Raised(Raised),
    /// The candidate's process is gone.
    Gone(Place),
    /// The candidate did not answer in time.
    OverTime(OverTime),
    /// What the candidate sent is no answer.
    Garbage(Garbage),
    /// The evaluator raised an exception.
    Error(Raised),
    /// The metrics.
    #[serde(untagged)]
    Result(Measured),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Measured {
    metrics: Vec<(String, String)>,
    /// Seconds that the candidate took.
    pub(super) seconds: f64,
    /// How often it was called.
    pub(super) calls: u64,
}

impl Measured {
    pub(super) fn metrics(&self) -> super::Metrics {
        // Python's repr of a float is a number of ours too: "nan", "inf", "1e-05"
        self.metrics.iter().map(|(name, value)| (name.clone(), value.parse().unwrap_or(f64::NAN))).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Place {
    #[serde(default)]
    pub(super) process: String,
    /// What was being called; nothing while the candidate was loaded.
    #[serde(default)]
    pub(super) function: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Raised {
    #[serde(flatten)]
    pub(super) at: Place,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) message: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct OverTime {
    #[serde(flatten)]
    pub(super) at: Place,
    /// Seconds.
    pub(super) limit: f64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Garbage {
    #[serde(flatten)]
    pub(super) at: Place,
    pub(super) what: String,
}

impl Told {
    /// Is it the last that the evaluator has to say?
    fn is_last(&self) -> bool {
        !matches!(self, Self::Progress(..) | Self::Note(_))
    }
}

/// Bytes become reports.
#[derive(Debug, Default)]
pub(super) struct Reports {
    held: Vec<u8>,
    total: usize,
    /// The last word, or why what came is none.
    pub(super) last: Option<Result<Told, String>>,
}

impl Reports {
    /// Takes what came; answers with what is worth telling at once.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Told> {
        self.total += bytes.len();
        let mut passing = Vec::new();
        // after its last word nothing counts, and nothing is kept
        if matches!(self.last, Some(Err(_))) {
            return passing;
        }
        // what was held before has no end of a line: looking at it again would take quadratic time
        let mut from = self.held.len();
        self.held.extend_from_slice(bytes);
        while let Some(end) = self.held[from..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.held.drain(..=from + end).collect();
            self.line(&line, &mut passing);
            from = 0;
        }
        if self.held.len() > LONGEST_LINE || self.total > LONGEST {
            self.last = Some(Err(format!("it reported {} bytes", self.total)));
            self.held.clear();
        }
        passing
    }

    /// There is no more.
    pub(super) fn finish(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.held);
        self.line(&line, &mut Vec::new());
    }

    fn line(&mut self, line: &[u8], passing: &mut Vec<Told>) {
        match serde_json::from_slice::<Told>(line) {
            Ok(told) if told.is_last() => {
                self.last = Some(match self.last {
                    None => Ok(told),
                    Some(_) => Err("it reported more than one result".to_owned()),
                });
            }
            Ok(told) => passing.push(told),
            Err(_) => {
                let text: String = String::from_utf8_lossy(line).trim().chars().take(120).collect();
                self.last = Some(Err(format!("it reported `{text}`")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<Result<Told, String>> {
        let mut reports = Reports::default();
        for piece in text.as_bytes().chunks(7) {
            reports.push(piece);
        }
        reports.finish();
        reports.last
    }

    #[test]
    fn reports_of_coroner_task_py_are_understood() {
        let place = |function: Option<&str>| Place {
            process: "candidate".into(),
            function: function.map(str::to_owned),
        };
        let told = last(
            "{\"progress\": [1.0, 2.0]}\n{\"metrics\": [[\"score\", \"1e-05\"], [\"x\", \"nan\"], [\"y\", \"inf\"]], \"seconds\": 0.5, \"calls\": 3}\n",
        );
        let Some(Ok(Told::Result(measured))) = told else { panic!("{told:?}") };
        let metrics = measured.metrics();
        assert_eq!((metrics["score"], metrics["y"], measured.calls), (1e-5, f64::INFINITY, 3));
        assert!(metrics["x"].is_nan());
        assert_eq!(
            last("{\"gone\": {\"process\": \"candidate\", \"function\": null}}\n"),
            Some(Ok(Told::Gone(place(None))))
        );
        assert_eq!(
            last("{\"over_time\": {\"process\": \"candidate\", \"function\": \"f\", \"limit\": 2.5}}\n"),
            Some(Ok(Told::OverTime(OverTime { at: place(Some("f")), limit: 2.5 })))
        );
        assert!(matches!(last("{\"invalid\": \"no\"}"), Some(Ok(Told::Invalid(_)))));
        let raised = last(
            "{\"raised\": {\"process\": \"candidate\", \"function\": \"f\", \"type\": \"E\", \"message\": \"E: x\", \"line\": 3}}\n",
        );
        assert!(matches!(raised, Some(Ok(Told::Raised(_)))), "{raised:?}");
        assert!(matches!(
            last("{\"error\": {\"type\": \"E\", \"message\": \"E: x\"}}\n"),
            Some(Ok(Told::Error(_)))
        ));
        assert!(matches!(
            last("{\"garbage\": {\"process\": \"c\", \"function\": \"f\", \"what\": \"x\"}}\n"),
            Some(Ok(Told::Garbage(_)))
        ));
    }

    #[test]
    fn nothing_and_nonsense_are_no_result() {
        assert_eq!(last(""), None);
        assert_eq!(last("{\"progress\": [1.0, 2.0]}\n"), None);
        for text in ["hello\n", "{\"metrics\": 3}\n", "{}\n", "\u{0}"] {
            assert!(matches!(last(text), Some(Err(_))), "{text}");
        }
        let twice = "{\"metrics\": [], \"seconds\": 0, \"calls\": 1}\n".repeat(2);
        assert!(matches!(last(&twice), Some(Err(why)) if why.contains("more than one")));
        assert!(matches!(last(&"x".repeat(3 << 20)), Some(Err(_))));
    }
}
