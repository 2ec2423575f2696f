//! Every rule lives up to its own examples, and none starts on a word that a large log would be skipped for.

use coroner_diagnosis::{Capture, Log, RuleSet, Settings, examine};

#[test]
fn every_rule_explains_its_examples_and_spares_its_counterexamples() {
    let rules = RuleSet::built_in().unwrap();
    let mut unmet = Vec::new();
    for rule in rules.rules() {
        for example in &rule.examples {
            if !example.lines().any(|line| rule.matches(line)) {
                unmet.push(format!("{} {}: does not match its example {example:?}", rule.file, rule.id));
                continue;
            }
            let capture = Capture { log: Log::new(example.as_bytes()), ..Capture::default() };
            let spoke = examine(&capture, &rules, &Settings::default()).verdict;
            // another rule of the same kind may be more precise; a rule of another kind is a conflict
            let other = rules.get(&spoke.rule).map(|r| (r.category, r.strength));
            if spoke.rule != rule.id && other.is_none_or(|(c, s)| c != rule.category && s >= rule.strength) {
                unmet.push(format!(
                    "{} {} ({}): its example is judged by {} ({}): {example:?}",
                    rule.file, rule.id, rule.category, spoke.rule, spoke.category
                ));
            }
        }
        for text in &rule.counterexamples {
            if text.lines().any(|line| rule.matches(line)) {
                unmet.push(format!("{} {}: matches its counterexample {text:?}", rule.file, rule.id));
            }
        }
    }
    assert!(unmet.is_empty(), "{} of {} rules:\n{}", unmet.len(), rules.rules().len(), unmet.join("\n"));
}
