//! `coroner rules`: what is in force, and what a new rule would change before it is.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use coroner_diagnosis::{Capture, Log, LogReader, Rule, RuleFile, RuleSet, examine};
use coroner_store::{Query, Silenced};
use serde_json::json;

use crate::analyst::{heard, rules, rules_with, runtime, settings};
use crate::args::{Format, RulesArgs, RulesCommand};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::kept;
use crate::printable::printable_lines;

/// Dispatches.
pub(crate) fn rules_command(context: &Context, args: &RulesArgs) -> Result<u8, Failed> {
    match &args.command {
        RulesCommand::List { category } => {
            let rules = rules(context)?;
            let chosen: Vec<&Rule> =
                rules.rules().iter().filter(|r| category.is_none_or(|c| r.category == c)).collect();
            list(context, &chosen, &silenced(context)?)
        }
        RulesCommand::Show { id } => {
            let rules = rules(context)?;
            match rules.get(id) {
                Some(rule) => show(context, rule, &silenced(context)?),
                None => Ok(no_rule(&rules, id)),
            }
        }
        RulesCommand::Disable { id } => switch(context, id, true),
        RulesCommand::Enable { id } => switch(context, id, false),
        RulesCommand::Check { files } => check(context, files.iter().map(std::path::PathBuf::as_path)),
        RulesCommand::Test { rule, limit } => test(context, rule, *limit),
    }
}

fn no_rule(rules: &RuleSet, id: &str) -> u8 {
    let ids = rules.rules().iter().map(|r| r.id.as_ref());
    let near = ids.max_by(|a, b| strsim::jaro_winkler(a, id).total_cmp(&strsim::jaro_winkler(b, id)));
    complain(&format!("there is no rule {id}; the nearest is {}", near.unwrap_or("none")));
    REPORTED
}

/// What somebody has switched off, if anything was ever kept.
fn silenced(context: &Context) -> Result<Vec<Silenced>, Failed> {
    let runtime = runtime()?;
    match kept::open(context, &runtime)? {
        Some(store) => Ok(runtime.block_on(store.silenced())?),
        None => Ok(Vec::new()),
    }
}

/// Switches a rule off or on: in the store, so that it counts for the desk and for every command beside it.
fn switch(context: &Context, id: &str, off: bool) -> Result<u8, Failed> {
    let rules = rules(context)?;
    if off && rules.get(id).is_none() {
        return Ok(no_rule(&rules, id));
    }
    let runtime = runtime()?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let by = context.env.text("USER").unwrap_or("command line").to_owned();
    let changed = runtime.block_on(store.silence(id, off.then_some(by.as_str()), jiff::Timestamp::now()))?;
    runtime.block_on(store.close())?;
    let text = match (off, changed) {
        (true, true) => format!("{id} does not speak any more"),
        (true, false) => format!("{id} was switched off already"),
        (false, true) => format!("{id} speaks again"),
        (false, false) => format!("{id} was not switched off"),
    };
    context.note(&text);
    Ok(if changed { DONE } else { REPORTED })
}

fn off<'a>(rule: &Rule, silenced: &'a [Silenced]) -> Option<&'a Silenced> {
    silenced.iter().find(|it| it.rule == rule.id)
}

fn value(rule: &Rule, silenced: &[Silenced]) -> serde_json::Value {
    let off = off(rule, silenced);
    json!({
        "enabled": off.is_none(), "disabled_by": off.map(|it| &it.by), "disabled_at": off.map(|it| it.at),
        "id": rule.id, "category": rule.category, "severity": rule.severity, "origin": rule.origin, "retryable": rule.retryable,
        "strength": rule.strength, "why": rule.why, "file": rule.file, "own": rule.own, "match": rule.patterns().collect::<Vec<_>>(),
        "cause": rule.causes().collect::<Vec<_>>(), "fix": rule.fixes().collect::<Vec<_>>(), "examples": rule.examples, "counterexamples": rule.counterexamples,
    })
}

fn list(context: &Context, rules: &[&Rule], silenced: &[Silenced]) -> Result<u8, Failed> {
    if context.format == Format::Json {
        context.print_json(&rules.iter().map(|r| value(r, silenced)).collect::<Vec<_>>())?;
        return Ok(DONE);
    }
    let width = rules.iter().map(|r| r.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for r in rules {
        let strength = serde_json::to_value(r.strength).map_err(anyhow::Error::from)?;
        let off = off(r, silenced).map(|it| format!("  switched off by {}", it.by)).unwrap_or_default();
        text.push_str(&format!(
            "{:<width$}  {:<16}  {:<8}  {:<14}  {:<8}  {}{off}\n",
            r.id,
            r.category,
            r.severity,
            r.origin,
            strength.as_str().unwrap_or(""),
            r.file
        ));
    }
    context.print(&printable_lines(&text, context.out().unicode))?;
    let silent = rules.iter().filter(|rule| off(rule, silenced).is_some()).count();
    let silent = if silent == 0 { String::new() } else { format!(", {silent} of them switched off") };
    context.note(&format!(
        "{}{silent}; coroner rules show ID tells what one looks for",
        crate::quantities::counted(rules.len() as u64, "rule", "rules")
    ));
    Ok(DONE)
}

fn show(context: &Context, rule: &Rule, silenced: &[Silenced]) -> Result<u8, Failed> {
    if context.format == Format::Json {
        context.print_json(&value(rule, silenced))?;
        return Ok(DONE);
    }
    let mut text = format!(
        "{}  {} / {} / {}\n  Why      {}\n",
        rule.id, rule.category, rule.severity, rule.origin, rule.why
    );
    let mut part = |name: &str, lines: &mut dyn Iterator<Item = &str>| {
        for (i, line) in lines.enumerate() {
            text.push_str(&format!(
                "  {:<8} {}\n",
                if i == 0 { name } else { "" },
                line.replace('\n', "\n           ")
            ));
        }
    };
    part("Looks", &mut rule.patterns());
    part("Says", &mut rule.causes());
    part("Fix", &mut rule.fixes());
    part("Example", &mut rule.examples.iter().map(AsRef::as_ref));
    part("But not", &mut rule.counterexamples.iter().map(AsRef::as_ref));
    part("From", &mut std::iter::once(rule.file.as_ref()));
    let off = off(rule, silenced).map(|it| format!("switched off by {} at {}", it.by, it.at));
    part("Now", &mut off.iter().map(String::as_str));
    context.print(&printable_lines(&text, context.out().unicode))?;
    Ok(DONE)
}

fn read(path: &Path) -> Result<(String, String), Failed> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the rule file {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

fn check<'a>(context: &Context, files: impl Iterator<Item = &'a Path>) -> Result<u8, Failed> {
    let mut faults = Vec::new();
    let mut sound = 0;
    for path in files {
        let (name, text) = read(path)?;
        match RuleSet::new(&[RuleFile { name: &name, text: &text }]) {
            Err(found) => faults.extend(found.iter().map(ToString::to_string)),
            Ok(rules) => {
                for rule in rules.rules().iter().filter(|r| r.own) {
                    let unmet = unmet(rule, &rules);
                    sound += u64::from(unmet.is_empty());
                    let place = match line_of(&text, &rule.id) {
                        Some(line) => format!("{name}:{line}"),
                        None => name.clone(),
                    };
                    faults.extend(unmet.into_iter().map(|u| format!("{place}: rule {}: {u}", rule.id)));
                }
            }
        }
    }
    match context.format {
        Format::Json => context.print_json(&json!({"sound": sound, "faults": faults}))?,
        Format::Text => {
            let lines: Vec<String> = faults.iter().map(|f| format!("{f}\n")).collect();
            context.print(&printable_lines(&lines.concat(), context.out().unicode))?;
            context.note(&format!(
                "{}, {}",
                crate::quantities::counted(sound, "sound rule", "sound rules"),
                crate::quantities::counted(faults.len() as u64, "fault", "faults")
            ));
        }
    }
    Ok(if faults.is_empty() { DONE } else { REPORTED })
}

/// The line that gives a rule its id.
fn line_of(text: &str, id: &str) -> Option<usize> {
    let is_id = |line: &str| {
        let value = line.trim_start().strip_prefix("id")?.trim_start().strip_prefix('=')?.trim();
        Some(value.trim_matches(['"', '\'']) == id)
    };
    text.lines().position(|line| is_id(line) == Some(true)).map(|at| at + 1)
}

/// The examples that a rule does not live up to.
fn unmet(rule: &Rule, rules: &RuleSet) -> Vec<String> {
    let mut unmet = Vec::new();
    for example in &rule.examples {
        let capture = Capture { log: Log::new(example.as_bytes()), ..Capture::default() };
        let spoke = examine(&capture, rules, &coroner_diagnosis::Settings::default()).verdict.rule;
        if spoke != rule.id {
            unmet.push(format!("its example is judged by {spoke}: {example:?}"));
        }
    }
    for text in &rule.counterexamples {
        if text.lines().any(|l| rule.matches(l)) {
            unmet.push(format!("it matches its counterexample {text:?}"));
        }
    }
    unmet
}

/// What the stored failures would be judged as with the rule, where that differs.
fn test(context: &Context, rule: &str, limit: u32) -> Result<u8, Failed> {
    let current = rules(context)?;
    let runtime = runtime()?;
    let store = kept::open(context, &runtime)?;
    let current = heard(context, current, store.as_ref(), &runtime);
    let changed = if Path::new(rule).exists() {
        let mut files = Vec::new();
        let own = Path::new(rule).canonicalize().ok();
        // the file may be in force already, in an earlier form or in this one
        for path in context.config.rules.paths.iter().filter(|path| path.canonicalize().ok() != own) {
            files.push(read(path)?);
        }
        files.push(read(Path::new(rule))?);
        Some(heard(context, rules_with(&files)?, store.as_ref(), &runtime))
    } else if current.get(rule).is_some() {
        None
    } else {
        return Err(Failed::Input(anyhow!("{rule} is neither a rule file nor the id of a rule in force")));
    };
    let settings = settings(context);
    let (mut looked, mut without_log) = (0_u64, 0_u64);
    let mut changes = Vec::new();
    let mut cursor = None;
    'pages: while let Some(store) = &store {
        let query = Query { limit: Some(200), cursor: cursor.take(), ..Query::default() };
        let page = runtime.block_on(store.list(query))?;
        for item in page.experiments.iter().filter(|i| i.analysis.is_some()) {
            if looked == u64::from(limit) {
                break 'pages;
            }
            looked += 1;
            // the id alone is that of the newest attempt
            let id = format!("{}~{}", item.id.name(), item.id.attempt());
            let experiment = runtime.block_on(store.get(&id))?;
            let Some(log) = &experiment.log else {
                without_log += 1;
                continue;
            };
            let reader = match runtime.block_on(store.read_log(log.id)) {
                Ok(reader) => reader,
                Err(coroner_store::Error::NoLog { .. }) => {
                    without_log += 1;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let capture = Capture {
                experiment_type: Some(item.experiment_type.clone()).filter(|kind| !kind.is_empty()),
                log: whole(reader)?,
                exit: experiment.exit.clone(),
                ..Capture::default()
            };
            let before = examine(&capture, &current, &settings).verdict;
            match &changed {
                Some(changed) => {
                    let after = examine(&capture, changed, &settings).verdict;
                    if after != before {
                        changes.push((experiment.listed.id.to_string(), before, after));
                    }
                }
                None if before.rule == rule => {
                    changes.push((experiment.listed.id.to_string(), before.clone(), before));
                }
                None => {}
            }
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if context.format == Format::Json {
        let list: Vec<_> =
            changes.iter().map(|(id, a, b)| json!({"experiment_id": id, "before": a, "after": b})).collect();
        context.print_json(&json!({"looked_at": looked, "without_log": without_log, "changes": list}))?;
    } else {
        let mut text = String::new();
        for (id, before, after) in &changes {
            if changed.is_some() {
                text.push_str(&format!(
                    "{id}\n  now   {} ({}): {}\n  then  {} ({}): {}\n",
                    before.category, before.rule, before.cause, after.category, after.rule, after.cause
                ));
            } else {
                text.push_str(&format!("{id}  {}\n", after.cause));
            }
        }
        context.print(&printable_lines(&text, context.out().unicode))?;
        let verb = if changed.is_some() { "would be judged differently" } else { "are judged by it" };
        context.note(&format!(
            "{} of {looked} stored failures {verb}; {without_log} have no log any more",
            changes.len()
        ));
    }
    Ok(if changes.is_empty() || changed.is_none() { DONE } else { REPORTED })
}

fn whole(mut from: impl Read) -> Result<Log, Failed> {
    let mut reader = LogReader::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(reader.finish()),
            Ok(n) => reader.push(&buffer[..n]),
            Err(e) => return Err(Failed::Outside(anyhow!("can't read a kept log: {e}"))),
        }
    }
}
