//! Advice from a real store: what a run has learnt, and what it must not learn.

use coroner_diagnosis::{Diagnosis, Origin};
use coroner_lab::advice::{Advice, Kind, Known};
use coroner_store::{
    CandidateBegun, CandidateOutcome, Cost, ExperimentId, Feedback, NewCandidate, NewExperiment, NewRun,
    Outcome, Owner, RunId, Scope, Status, Store, Within,
};
use jiff::Timestamp;

fn diagnosis(signature: &str, origin: Origin) -> Diagnosis {
    serde_json::from_value(serde_json::json!({
        "failure_category": "logic_error", "severity": "high", "origin": origin, "confidence": 0.9, "retryable": false,
        "root_cause": format!("The cause {signature}."), "fix_suggestion": "Mend it.", "signature": signature,
        "created_at": "2026-11-28T00:00:00Z", "provenance": {"source": "rule"},
        "verdict": {"rule": "r", "category": "logic_error", "severity": "high", "origin": origin, "retryable": false,
                    "confidence": 0.9, "cause": "c", "fix": "f"},
    }))
    .unwrap()
}

struct Lab {
    store: Store,
    run: RunId,
    made: std::cell::Cell<u32>,
}

impl Lab {
    async fn test(&self, parent: Option<&ExperimentId>, failure: Option<Diagnosis>) -> ExperimentId {
        self.made.set(self.made.get() + 1);
        let new = NewExperiment {
            id: None,
            experiment_type: String::new(),
            command: std::iter::empty::<String>().collect(),
            cwd: String::new(),
            owner: Owner::this_process(),
            started_at: Timestamp::now(),
        };
        let candidate = NewCandidate {
            run: self.run,
            code: b"x".to_vec(),
            code_hash: self.made.get().to_string(),
            generation: self.made.get(),
            parents: parent.into_iter().cloned().collect(),
            repair_of: None,
            proposer: "test".to_owned(),
            change: format!("change {}", self.made.get()),
            feedback: Feedback::Diagnosis,
            proposal_cost: Cost::default(),
        };
        let begun = self.store.begin_candidate(new, candidate).await.unwrap();
        let CandidateBegun::Begun(id) = begun else { panic!("{begun:?}") };
        let outcome = Outcome {
            status: if failure.is_some() { Status::TestFailed } else { Status::Adopted },
            exit: None,
            ended_at: Timestamp::now(),
            reason: None,
            log: None,
            diagnosis: failure,
        };
        self.store.finish_candidate(&id, outcome, CandidateOutcome::default()).await.unwrap();
        id
    }

    async fn advice(&self, parent: Option<&ExperimentId>) -> Advice {
        let within = Within { scope: Scope::Run(self.run), ..Within::default() };
        Advice::new(&Known::gather(&self.store, within, 10, parent).await.unwrap(), 3000)
    }
}

#[tokio::test]
async fn a_run_learns_from_its_own_failures_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.unwrap();
    let run = NewRun {
        task: "bare".to_owned(),
        settings: serde_json::Value::Null,
        seed: 1,
        owner: Owner::this_process(),
        started_at: Timestamp::now(),
    };
    let run = store.start_run(run).await.unwrap();
    let lab = Lab { store, run, made: std::cell::Cell::new(0) };
    assert_eq!(lab.advice(None).await.text, "", "nothing has failed");

    let own = |signature| Some(diagnosis(signature, Origin::Candidate));
    let seed = lab.test(None, None).await;
    assert_eq!(lab.advice(Some(&seed)).await.text, "");
    let first = lab.test(Some(&seed), own("v1:shape")).await;
    let mended = lab.test(Some(&first), None).await;
    for origin in [Origin::Harness, Origin::Infrastructure, Origin::Policy, Origin::Provider] {
        lab.test(Some(&mended), Some(diagnosis(&format!("v1:{origin}"), origin))).await;
    }
    let again = lab.test(Some(&mended), own("v1:shape")).await;
    let other = lab.test(Some(&again), own("v1:nan")).await;

    let advice = lab.advice(Some(&other)).await;
    let told: Vec<_> =
        advice.items.iter().map(|i| (i.kind, i.signature.as_deref().unwrap(), i.count)).collect();
    assert_eq!(
        told,
        [(Kind::Parent, "v1:nan", Some(1)), (Kind::Repeated, "v1:shape", Some(2))],
        "{}",
        advice.text
    );
    assert_eq!(advice.items[1].experiments, [again.number(), first.number()]);
    let passed = format!("exp {} passed with: change 3", mended.number());
    assert!(advice.text.contains(&passed), "{}", advice.text);
    let harness = lab.test(Some(&other), Some(diagnosis("v1:harness", Origin::Harness))).await;
    let advice = lab.advice(Some(&harness)).await;
    assert!(!advice.text.contains("v1:harness") && advice.text.contains("v1:nan"), "{}", advice.text);
    assert_eq!(
        lab.advice(None).await.items.iter().map(|i| i.kind).collect::<Vec<_>>(),
        [Kind::Cause, Kind::Cause]
    );
}
