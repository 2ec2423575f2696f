//! An item of the original's table of experiments, as its generations wrote it, and what it says of one experiment.

use std::collections::BTreeMap;

use coroner_store::Status;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::nan;

/// Of figures that the original compares by, lower is better.
const SCORE: &str = "bitrate_mbps";
/// Larger numbers are milliseconds: as seconds they would be in the year 5138.
const MILLISECONDS: f64 = 1e11;
/// How experiments are called by those who run them, where no element says what they are.
const KINDS: [(&str, &str); 4] = [
    ("real_exp_", "real_experiment"),
    ("proc_exp_", "real_procedural_generation"),
    ("gpu_exp_", "gpu_experiment"),
    ("exp_iter", "orchestrated_iteration"),
];

/// What an item says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Original {
    pub(super) id: String,
    /// Its range key, which tells items of the same id apart.
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) status: Status,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    /// Empty where the item holds none.
    pub(super) code: String,
    /// What was changed, in one line.
    pub(super) change: String,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) score: Option<f64>,
    pub(super) reason: Option<String>,
    /// What came of this step of evolution, untouched, the original's analysis in it.
    pub(super) step: Value,
    pub(super) error: Option<String>,
    /// Whatever else speaks of a failure, a line for each thing.
    pub(super) log: String,
}

/// Why an item can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it has no `{field}`")]
    Missing { field: &'static str },
    #[error("its `{field}` is {found}, where {wanted} is wanted")]
    Kind { field: &'static str, found: &'static str, wanted: &'static str },
    #[error("its `{field}` is no JSON: {why}")]
    Broken { field: &'static str, why: String },
    #[error("element {nth} of its `{field}` is {found}, where a map is wanted")]
    Element { field: &'static str, nth: usize, found: &'static str },
    #[error("its status `{word}` is none of the original's")]
    Status { word: String },
    #[error("its `{field}` {value} is no moment in time")]
    Time { field: &'static str, value: String },
    #[error("its `{field}` {value} lies in the future ({at})")]
    Future { field: &'static str, value: String, at: Timestamp },
}

/// Its id, if it has one: for the words of an error.
pub(super) fn id(item: &Value) -> &str {
    item["experiment_id"].as_str().unwrap_or_default()
}

pub(super) fn read(item: &Value) -> Result<Original, Unreadable> {
    let id = wanted_text(item, "experiment_id")?.ok_or(Unreadable::Missing { field: "experiment_id" })?;
    let at = item.get("timestamp").ok_or(Unreadable::Missing { field: "timestamp" })?;
    let elements = elements(item)?;
    let evolution =
        elements.iter().map(|it| &it["evolution"]).find(|it| it.is_object()).unwrap_or(&Value::Null);
    let metrics = metrics(item, &elements, evolution);
    let status = status(item, &elements, evolution)?;
    let said = Said::by(item, &elements, evolution, status);
    let started_at = match item.get("start_time").filter(|it| it.is_number() || it.is_string()) {
        Some(start) => moment("start_time", start)?,
        None => moment("timestamp", at)?,
    };
    let took = item["elapsed_seconds"].as_f64().filter(|it| *it > 0.0);
    let took = took.and_then(|it| SignedDuration::try_from_secs_f64(it).ok());
    let ended_at = took.and_then(|took| started_at.checked_add(took).ok());
    let summary = code_evolution(item)["summary"].as_str().unwrap_or_default().to_owned();
    let change = [evolution["summary"].as_str().unwrap_or_default(), &summary];
    Ok(Original {
        kind: kind(&id, &elements, evolution),
        at: at.to_string(),
        status,
        ended_at: ended_at.unwrap_or(moment("timestamp", at)?.max(started_at)),
        started_at,
        code: code(item, &elements, evolution),
        change: change.into_iter().find(|it| !it.is_empty()).unwrap_or_default().replace('\n', " "),
        score: metrics.get(SCORE).copied(),
        metrics,
        reason: said.reason,
        step: evolution.clone(),
        error: said.error,
        log: said.log,
        id,
    })
}

impl Original {
    /// The same without secrets, which `mask` finds.
    pub(super) fn masked(mut self, mask: &mut dyn FnMut(&str) -> String) -> Self {
        for text in [&mut self.code, &mut self.change, &mut self.log] {
            *text = mask(text);
        }
        for text in [&mut self.error, &mut self.reason].into_iter().flatten() {
            *text = mask(text);
        }
        in_texts(&mut self.step, mask);
        self
    }
}

fn in_texts(value: &mut Value, mask: &mut dyn FnMut(&str) -> String) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Array(items) => items.iter_mut().for_each(|it| in_texts(it, mask)),
        Value::Object(fields) => fields.values_mut().for_each(|it| in_texts(it, mask)),
        _ => {}
    }
}

fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Text that is not empty; anything else in its place is an error.
fn wanted_text(item: &Value, field: &'static str) -> Result<Option<String>, Unreadable> {
    match item.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(other) => Err(Unreadable::Kind { field, found: named(other), wanted: "text" }),
    }
}

/// `experiments`: JSON in text, as all of them wrote it, or a list. A run that has no end has none.
fn elements(item: &Value) -> Result<Vec<Value>, Unreadable> {
    const FIELD: &str = "experiments";
    let parsed = match item.get(FIELD) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => {
            let parsed = serde_json::from_str(text).or_else(|e| {
                // Python writes what is no number so, and nobody else reads it
                serde_json::from_str(&nan::without(text)).map_err(|_| e)
            });
            parsed.map_err(|e| Unreadable::Broken { field: FIELD, why: e.to_string() })?
        }
        Some(other) => other.clone(),
    };
    let wrong = |found| Unreadable::Kind { field: FIELD, found, wanted: "a list of experiments" };
    match parsed {
        Value::Array(all) => match all.iter().position(|it| !it.is_object()) {
            Some(place) => {
                Err(Unreadable::Element { field: FIELD, nth: place + 1, found: named(&all[place]) })
            }
            None => Ok(all),
        },
        other => Err(wrong(named(&other))),
    }
}

/// Seconds since 1970, or RFC 3339. One that lies in the future would stand first in every list for years.
fn moment(field: &'static str, value: &Value) -> Result<Timestamp, Unreadable> {
    let wrong = || Unreadable::Time { field, value: value.to_string() };
    let at = match value.as_str() {
        Some(text) => text.parse().map_err(|_| wrong())?,
        None => {
            let number = value.as_f64().ok_or_else(wrong)?;
            let seconds = if number.abs() >= MILLISECONDS { number / 1000.0 } else { number };
            let since = SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
            Timestamp::from_duration(since).map_err(|_| wrong())?
        }
    };
    if at.as_second() > Timestamp::now().as_second() + 300 {
        return Err(Unreadable::Future { field, value: value.to_string(), at });
    }
    Ok(at)
}

/// The same in short, kept beside; what can't be read of it is told elsewhere.
fn code_evolution(item: &Value) -> Value {
    item["code_evolution"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The element's that evolved, or the first one's.
fn kind(id: &str, elements: &[Value], evolution: &Value) -> String {
    let evolved = elements.iter().find(|it| evolution.is_object() && it["evolution"].is_object());
    let of = |element: &Value| {
        let word = element["experiment_type"].as_str().or(element["type"].as_str())?;
        let fits = !word.is_empty() && word.len() <= 200 && !word.chars().any(char::is_control);
        fits.then(|| word.to_owned())
    };
    evolved.and_then(of).or_else(|| elements.iter().find_map(of)).unwrap_or_else(|| {
        let known = KINDS.iter().find(|(prefix, _)| id.starts_with(prefix));
        known.map_or("experiment", |(_, kind)| kind).to_owned()
    })
}

/// Evolution says most; then what an element, and last what the item says, which is `completed` of nearly everything.
fn status(item: &Value, elements: &[Value], evolution: &Value) -> Result<Status, Unreadable> {
    match evolution["status"].as_str() {
        Some("test_failed" | "failed" | "no_code") => return Ok(Status::TestFailed),
        Some("adopted") => return Ok(Status::Adopted),
        Some("rejected") => return Ok(Status::Rejected),
        _ => {}
    }
    let word = wanted_text(item, "status")?.unwrap_or_default();
    let failed = elements.iter().any(|it| matches!(it["status"].as_str(), Some("failed" | "error")));
    let complains =
        ["error", "gpu_error"].iter().any(|it| item[*it].as_str().is_some_and(|it| !it.is_empty()));
    match word.as_str() {
        "completed" | "success" if !failed && !complains => Ok(Status::Passed),
        "completed" | "success" | "failed" | "timed_out" | "error" => Ok(Status::Failed),
        "running" | "in_progress" => Ok(Status::Lost),
        "" => Err(Unreadable::Missing { field: "status" }),
        _ => Err(Unreadable::Status { word }),
    }
}

fn metrics(item: &Value, elements: &[Value], evolution: &Value) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let mut take = |figures: &Value| {
        for (name, value) in figures.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64().filter(|it| it.is_finite()) {
                all.entry(name.clone()).or_insert(value);
            }
        }
    };
    take(&evolution["metrics"]);
    take(&item["metrics"]);
    for element in elements {
        take(&element["real_metrics"]);
        take(&element["comparison"]);
        take(&element["metrics"]);
    }
    all
}

fn code(item: &Value, elements: &[Value], evolution: &Value) -> String {
    let of = |value: &Value| {
        ["code", "generated_code"].iter().find_map(|name| {
            let code = &value[*name];
            code.as_str().or(code["code"].as_str()).filter(|it| !it.is_empty()).map(str::to_owned)
        })
    };
    let places = elements.iter().flat_map(|it| [it, &it["code_info"]]);
    of(evolution).or_else(|| places.chain([item]).find_map(of)).unwrap_or_default()
}

/// What speaks of a failure.
struct Said {
    error: Option<String>,
    log: String,
    reason: Option<String>,
}

impl Said {
    fn by(item: &Value, elements: &[Value], evolution: &Value, status: Status) -> Self {
        let text = |value: &Value| value.as_str().filter(|it| !it.trim().is_empty()).map(str::to_owned);
        let analysis = &evolution["failure_analysis"];
        let own =
            text(&evolution["error"]).or_else(|| text(&item["error"])).or_else(|| text(&item["gpu_error"]));
        let mut error = own.or_else(|| elements.iter().find_map(|it| text(&it["error"])));
        let mut lines = Vec::new();
        lines.extend(text(&item["traceback"]));
        for element in elements {
            lines.extend(["traceback", "debug_info"].iter().filter_map(|name| text(&element[*name])));
        }
        // maps by the runner, and plain text by whatever cleaned up after it
        for why in item["human_intervention_reasons"].as_array().into_iter().flatten() {
            let phase = text(&why["phase"]).map(|it| format!("{it}: ")).unwrap_or_default();
            lines.extend(text(why).or_else(|| text(&why["reason"])).map(|it| format!("{phase}{it}")));
            for last in [&why["last_error"], &why["last_failure"]] {
                lines.extend(
                    text(last).or_else(|| text(&last["root_cause"])).or_else(|| text(&last["error"])),
                );
            }
        }
        if status == Status::Lost {
            let phase =
                text(&item["current_phase"]).map(|it| format!(", in the phase {it}")).unwrap_or_default();
            let word = item["status"].as_str().unwrap_or_default();
            lines.push(format!("the table has no end of it: it says {word}{phase}"));
        }
        if item["status"] == "timed_out" && error.is_none() {
            error = Some("timed out".to_owned());
        }
        let reason = text(&evolution["reason"]);
        // often all that is left of the error: the original kept neither its message nor its log
        if error.is_none() && lines.is_empty() {
            error = text(&analysis["root_cause"]).or_else(|| reason.clone());
        }
        let theirs = verdict(analysis);
        let reason = match (reason, theirs) {
            (Some(reason), Some(theirs)) => Some(format!("{reason}; {theirs}")),
            (reason, theirs) => reason.or(theirs),
        };
        let log = if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
        Self { error, log, reason }
    }
}

/// What the original's analysis said, on one line.
fn verdict(analysis: &Value) -> Option<String> {
    let analysis: &Map<String, Value> = analysis.as_object()?;
    let word = |name: &str| analysis.get(name).and_then(Value::as_str).unwrap_or("unknown");
    let line = format!(
        "the original's analysis: {}, {}: {} (fix: {})",
        word("failure_category"),
        word("severity"),
        word("root_cause"),
        word("fix_suggestion")
    );
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What `scripts/real_experiment.py` wrote.
    fn classic(evolution: Value) -> Value {
        let elements = json!([
            {"experiment_type": "real_procedural_generation", "status": "completed", "timestamp": 1_760_667_000,
             "real_metrics": {"bitrate_mbps": 15.038184, "fps": 30, "resolution": "1920x1080"},
             "comparison": {"reduction_percent": -50.38, "target_achieved": false}},
            {"experiment_type": "llm_generated_code_evolution", "status": "completed", "evolution": evolution,
             "code_info": {"function_name": "compress_video_frame", "code_length": 12, "code": "def f(): ..."}},
        ]);
        json!({
            "experiment_id": "real_exp_1760667123", "timestamp": 1_760_667_123, "status": "completed", "s3_key": "x",
            "experiments": elements.to_string(), "code_evolution": "{\"summary\": \"Smaller blocks\"}",
        })
    }

    fn failed() -> Value {
        json!({"status": "test_failed", "adopted": false, "reason": "Code testing failed or produced invalid results",
            "failure_analysis": {"failure_category": "validation_error", "root_cause": "Forbidden import from: torchvision",
                "fix_suggestion": "Use only\nallowed libraries", "severity": "high"}})
    }

    #[test]
    fn an_evolution_is_read_whole() {
        let it = read(&classic(failed())).unwrap();
        assert_eq!((it.id.as_str(), it.at.as_str()), ("real_exp_1760667123", "1760667123"));
        assert_eq!((it.kind.as_str(), it.status), ("llm_generated_code_evolution", Status::TestFailed));
        assert_eq!(it.started_at.to_string(), "2025-10-17T02:12:03Z");
        assert_eq!(it.ended_at, it.started_at);
        assert_eq!((it.code.as_str(), it.change.as_str()), ("def f(): ...", "Smaller blocks"));
        assert_eq!(
            (it.score, it.metrics["fps"], it.metrics["reduction_percent"]),
            (Some(15.038184), 30.0, -50.38)
        );
        assert_eq!(it.metrics.len(), 3, "text and truth are no figures");
        assert_eq!((it.error.as_deref(), it.log.as_str()), (Some("Forbidden import from: torchvision"), ""));
        assert_eq!(
            it.reason.as_deref(),
            Some(
                "Code testing failed or produced invalid results; the original's analysis: validation_error, high: \
                 Forbidden import from: torchvision (fix: Use only allowed libraries)"
            )
        );
        assert_eq!(it.step, failed());
        for (evolution, status, score) in [
            (
                json!({"status": "adopted", "adopted": true, "metrics": {"bitrate_mbps": 0.5}, "summary": "S"}),
                Status::Adopted,
                0.5,
            ),
            (json!({"status": "rejected", "reason": "Performance not better"}), Status::Rejected, 15.038184),
            (json!({"status": "no_code", "adopted": false}), Status::TestFailed, 15.038184),
        ] {
            let it = read(&classic(evolution)).unwrap();
            assert_eq!((it.status, it.score), (status, Some(score)));
        }
    }

    #[test]
    fn other_generations_are_understood() {
        let item = |more: Value| {
            let mut item = json!({"experiment_id": "proc_exp_1", "timestamp": 1_760_700_000.5});
            item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            item
        };
        let reasons = json!([{"phase": "validation", "reason": "10 attempts failed", "last_error": "NameError: name 'bytearray'"}, "stuck"]);
        for (what, status, error, log) in [
            (
                json!({"status": "running", "current_phase": "validation"}),
                Status::Lost,
                None,
                "the table has no end of it: it says running, in the phase validation\n",
            ),
            (
                json!({"status": "in_progress"}),
                Status::Lost,
                None,
                "the table has no end of it: it says in_progress\n",
            ),
            (json!({"status": "timed_out"}), Status::Failed, Some("timed out"), ""),
            (
                json!({"status": "failed", "needs_human": true, "human_intervention_reasons": reasons}),
                Status::Failed,
                None,
                "validation: 10 attempts failed\nNameError: name 'bytearray'\nstuck\n",
            ),
            (
                json!({"status": "completed", "gpu_error": "CUDA out of memory", "traceback": "Traceback\n  x"}),
                Status::Failed,
                Some("CUDA out of memory"),
                "Traceback\n  x\n",
            ),
            (
                json!({"status": "success", "metrics": {"psnr_db": 31.5, "ssim": 0.9}}),
                Status::Passed,
                None,
                "",
            ),
            (
                json!({"status": "completed", "experiments": "[{\"experiment_type\": \"llm_generated_code\", \"status\": \"failed\", \"error\": \"x is 1\"}]"}),
                Status::Failed,
                Some("x is 1"),
                "",
            ),
            (json!({"status": "completed", "experiments": []}), Status::Passed, None, ""),
        ] {
            let it = read(&item(what.clone())).unwrap();
            assert_eq!((it.status, it.error.as_deref(), it.log.as_str()), (status, error, log), "{what}");
        }
        // as Python writes what is no number
        let text = r#"[{"status": "NaN \\\" NaN", "real_metrics": {"fps": NaN, "db": -Infinity, "mbps": 2}, "error": "x is NaN, y Infinity"}]"#;
        let it = read(&item(json!({"status": "failed", "experiments": text}))).unwrap();
        assert_eq!((it.metrics.len(), it.metrics["mbps"]), (1, 2.0));
        assert_eq!(it.error.as_deref(), Some("x is NaN, y Infinity"));
        let timed = json!({"status": "success", "start_time": 1_760_700_000, "elapsed_seconds": 12.5, "timestamp": 1_760_700_020_000_i64});
        let it = read(&item(timed)).unwrap();
        assert_eq!((it.ended_at - it.started_at).total(jiff::Unit::Second).unwrap().to_string(), "12.5");
        assert_eq!(it.kind, "real_procedural_generation");
        assert_eq!(
            read(&item(json!({"status": "success"}))).unwrap().started_at.to_string(),
            "2025-10-17T11:20:00.5Z"
        );
    }

    #[test]
    fn what_cant_be_read_says_why() {
        let with = |field: &str, value: Value| {
            let mut item = classic(failed());
            item[field] = value;
            item
        };
        for (item, why) in [
            (json!({}), "no `experiment_id`"),
            (json!({"experiment_id": "a"}), "no `timestamp`"),
            (with("experiment_id", json!(7)), "`experiment_id` is a number, where text is wanted"),
            (with("experiments", json!("[{\"status\": ")), "`experiments` is no JSON: EOF"),
            (
                with("experiments", json!("{\"a\": 1}")),
                "`experiments` is a map, where a list of experiments is wanted",
            ),
            (
                with("experiments", json!("[{}, 2, null]")),
                "element 2 of its `experiments` is a number, where a map",
            ),
            (
                with("experiments", json!("[{\"fps\": NaN}, NaN]")),
                "element 2 of its `experiments` is nothing",
            ),
            (with("experiments", json!("[{\"fps\": NaNs}]")), "`experiments` is no JSON"),
            (with("timestamp", json!(99_999_999_999_i64)), "lies in the future (5138-11-16T09:46:39Z)"),
            (with("start_time", json!("2109-05-15T00:00:00Z")), "lies in the future"),
            (with("experiments", json!(true)), "`experiments` is true or false"),
            (with("timestamp", json!("soon")), "`timestamp` \"soon\" is no moment"),
            (with("timestamp", json!(1e30)), "is no moment in time"),
            (json!({"experiment_id": "a", "timestamp": 1, "status": "gone"}), "status `gone` is none"),
            (json!({"experiment_id": "a", "timestamp": 1, "status": 4}), "`status` is a number"),
            (json!({"experiment_id": "a", "timestamp": 1}), "no `status`"),
            (with("experiments", json!("[".repeat(100_000))), "no JSON: recursion limit"),
        ] {
            let error = read(&item).unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 300, "{error}");
        }
    }
}
