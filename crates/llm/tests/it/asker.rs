//! What stands between a question and a provider: cache, breaker, turns, budget, time and retries. In paused
//! time, with a script for a provider, so that minutes pass at once and exactly.

use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use coroner_diagnosis::{FailureKind, Reply};
use coroner_llm::{
    Advice, Answer, AskError, Asker, Ending, Ledger, LedgerError, Limits, MemoryLedger, Price, Prices,
    ReplyKey, Scripted, Spent, Step, Usage,
};
use jiff::civil::{Date, date};
use tokio::time::Instant;

use crate::{asker, question};

fn overloaded(advice: Advice) -> Step {
    Step::Fail(AskError::Overloaded { endpoint: "h".to_owned(), status: 529, said: String::new() }, advice)
}

fn scripted(steps: impl IntoIterator<Item = Step>) -> Arc<Scripted> {
    Arc::new(Scripted::new(steps))
}

fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_kept_by_signature_prompt_and_model() {
    let script = scripted(["one", "two", "three", "four"].map(Step::say));
    let ledger = Arc::new(MemoryLedger::default());
    let asker = Asker::new(script.clone().into(), ledger.clone(), Limits::default(), Prices::default());
    let first = asker.ask(&question("v1:1")).await.unwrap();
    assert!(!first.cached);
    let again = asker.ask(&question("v1:1")).await.unwrap();
    assert_eq!((again.text.as_str(), again.cached, again.cost_usd), ("one", true, None));
    assert_eq!(asker.ask(&question("v1:2")).await.unwrap().text, "two");
    let mut newer = question("v1:1");
    newer.prompt_version = "other";
    assert_eq!(asker.ask(&newer).await.unwrap().text, "three");

    let other = Arc::new(Scripted::new([Step::say("of another model")]).named("other", Vec::new()));
    let other = Asker::new(other.into(), ledger, Limits::default(), Prices::default());
    assert_eq!(other.ask(&question("v1:1")).await.unwrap().text, "of another model");

    // what did not stand up to the evidence is asked anew
    asker.forget(&question("v1:1")).await.unwrap();
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap().text, "four");
    assert_eq!(script.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_kept() {
    let asker =
        asker(scripted([Step::fail(FailureKind::Refused, "no"), Step::say("yes")]), Limits::default());
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap_err().detail, "no");
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap().text, "yes");
}

#[tokio::test(start_paused = true)]
async fn retries_come_after_the_pauses_of_the_sdk() {
    let script = scripted([overloaded(Advice::Soon), overloaded(Advice::Soon), Step::say("there")]);
    let start = Instant::now();
    asker(script, Limits::default()).ask(&question("v1:1")).await.unwrap();
    // 0.5 s and 1 s, up to a quarter off each
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_125) && took <= Duration::from_millis(1_505), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_asks_for_is_obeyed() {
    let script = scripted([overloaded(Advice::After(Duration::from_secs(7))), Step::say("there")]);
    let start = Instant::now();
    asker(script, Limits::default()).ask(&question("v1:1")).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 7);

    // but not if the time would be over before: that is known at once
    let script = scripted([overloaded(Advice::After(Duration::from_secs(31))), Step::say("too late")]);
    let start = Instant::now();
    let failure = asker(script, Limits::default()).ask(&question("v1:1")).await.unwrap_err();
    assert_eq!((failure.kind, start.elapsed().as_secs()), (FailureKind::Overloaded, 0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_all_attempts_together() {
    let slow = || [wait(14), overloaded(Advice::Soon)];
    let script = scripted([slow(), slow(), slow()].into_iter().flatten());
    let start = Instant::now();
    let failure = asker(script.clone(), Limits::default()).ask(&question("v1:1")).await.unwrap_err();
    assert_eq!((failure.kind, start.elapsed().as_secs()), (FailureKind::Timeout, 30));
    assert!(
        failure.detail.starts_with("no whole answer in 30 s") && failure.detail.ends_with("(tried 3 times)"),
        "{failure}"
    );
    assert_eq!(script.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn retries_end() {
    for (retries, asked) in [(0, 1), (2, 3), (5, 6)] {
        let script = scripted((0..9).map(|_| overloaded(Advice::Soon)));
        let limits = Limits { retries, ..Limits::default() };
        let failure = asker(script.clone(), limits).ask(&question("v1:1")).await.unwrap_err();
        assert_eq!((failure.kind, script.asked().len()), (FailureKind::Overloaded, asked));
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_in_a_row_is_left_alone_for_a_while() {
    let steps = (0..5).map(|_| overloaded(Advice::Never)).chain([
        wait(1),
        overloaded(Advice::Never),
        Step::say("well again"),
        Step::say("and again"),
    ]);
    let script = scripted(steps);
    let asker = asker(script.clone(), Limits::default());
    for n in 0..5 {
        asker.ask(&question(&format!("v1:{n}"))).await.unwrap_err();
    }
    let resting = asker.ask(&question("v1:x")).await.unwrap_err();
    assert_eq!((resting.kind, script.asked().len()), (FailureKind::Overloaded, 5));
    assert!(
        resting.detail.contains("for another 60 s, after 5 failures in a row")
            && resting.detail.contains("529"),
        "{resting}"
    );

    // after the pause one is let through, and only one; it fails, and the pause begins anew
    tokio::time::advance(Duration::from_secs(61)).await;
    let (x, y) = (question("v1:x"), question("v1:y"));
    let (tried, told) = tokio::join!(asker.ask(&x), asker.ask(&y));
    assert_eq!(script.asked().len(), 6);
    assert!(tried.unwrap_err().detail.starts_with("h is overloaded"));
    assert!(told.unwrap_err().detail.starts_with("not asked"));
    assert!(asker.ask(&question("v1:x")).await.unwrap_err().detail.starts_with("not asked"));

    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(asker.ask(&question("v1:x")).await.unwrap().text, "well again");
    assert_eq!(asker.ask(&question("v1:y")).await.unwrap().text, "and again");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_given_up_leaves_the_way_free() {
    let steps = [overloaded(Advice::Never), wait(1_000), Step::say("well again")];
    let asker = asker(scripted(steps), Limits { breaker_after: 1, ..Limits::default() });
    asker.ask(&question("v1:1")).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(61)).await;
    let given_up = tokio::time::timeout(Duration::from_secs(1), asker.ask(&question("v1:1"))).await;
    assert!(given_up.is_err());
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap().text, "well again");
}

#[tokio::test(start_paused = true)]
async fn only_trouble_of_the_provider_counts_for_the_breaker() {
    for (error, lets_through) in [
        (AskError::KeyRefused { endpoint: "h".to_owned(), status: 401 }, false),
        (AskError::SpendLimit { endpoint: "h".to_owned(), status: 429, code: String::new() }, false),
        (AskError::WrongAddress { endpoint: "h".to_owned(), path: "/".to_owned() }, false),
        (AskError::Refused { model: "m".to_owned(), category: None }, true),
        (AskError::CutOff { model: "m".to_owned(), max_tokens: 1 }, true),
        (AskError::ContextExceeded { model: "m".to_owned() }, true),
    ] {
        let script = scripted([Step::Fail(error.clone(), Advice::Never), Step::say("next")]);
        let asker = asker(script, Limits::default());
        let failure = asker.ask(&question("v1:1")).await.unwrap_err();
        let next = asker.ask(&question("v1:2")).await;
        assert_eq!(next.is_ok(), lets_through, "{error:?}");
        if let Err(resting) = next {
            assert_eq!(resting.kind, failure.kind);
            assert!(resting.detail.contains("after a failure: "), "{resting}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_are_under_way_and_no_more() {
    for (concurrency, seconds) in [(1, 6), (2, 3), (6, 1), (0, 6)] {
        let script = scripted((0..6).map(|_| wait(1)).chain((0..6).map(|_| Step::say("x"))));
        let asker = Arc::new(asker(script, Limits { concurrency, ..Limits::default() }));
        let start = Instant::now();
        let asking: Vec<_> = (0..6)
            .map(|n| {
                let asker = Arc::clone(&asker);
                tokio::spawn(async move { asker.ask(&question(&format!("v1:{n}"))).await })
            })
            .collect();
        for asked in asking {
            asked.await.unwrap().unwrap();
        }
        // each of the six waits is taken by one of those under way, so together they take six seconds in all
        assert_eq!(start.elapsed().as_secs(), seconds, "{concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_profits_from_the_one_before() {
    let script = scripted([wait(1), Step::say("one"), Step::say("two")]);
    let asker = asker(script.clone(), Limits { concurrency: 1, ..Limits::default() });
    let same = question("v1:1");
    let (a, b) = tokio::join!(asker.ask(&same), asker.ask(&same));
    assert_eq!((a.unwrap().cached, b.unwrap().cached, script.asked().len()), (false, true, 1));
}

fn answer(ending: Ending) -> Step {
    let usage = Usage { input_tokens: 1_000_000, output_tokens: 0 };
    Step::Answer(Answer { text: "{}".to_owned(), model: "claude-sonnet-5-5".to_owned(), ending, usage })
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_the_day_is_kept() {
    let day = Arc::new(AtomicI8::new(23));
    let today = Arc::clone(&day);
    for (limits, words) in [
        (Limits { calls_per_day: Some(2), ..Limits::default() }, "2 of 2 questions"),
        (Limits { dollars_per_day: Some(3.0), ..Limits::default() }, "$4.00 of $3.00"),
    ] {
        day.store(23, Ordering::Relaxed);
        let today = Arc::clone(&today);
        let script = scripted((0..9).map(|_| answer(Ending::Whole)));
        let asker =
            asker(script.clone(), limits).with_today(move || date(2026, 11, today.load(Ordering::Relaxed)));
        for n in 0..2 {
            asker.ask(&question(&format!("v1:{n}"))).await.unwrap();
        }
        let failure = asker.ask(&question("v1:2")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::OverBudget);
        assert!(failure.detail.contains(words), "{failure}");
        assert_eq!(script.asked().len(), 2);
        // what is kept is still given out
        assert!(asker.ask(&question("v1:0")).await.unwrap().cached);
        // and the next day is a new one
        day.store(24, Ordering::Relaxed);
        asker.ask(&question("v1:2")).await.unwrap();
        assert_eq!(asker.spent_today().await.unwrap(), Spent { calls: 1, dollars: 2.0 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_count_is_paid_all_the_same() {
    for (ending, kind) in [
        (Ending::CutOff { max_tokens: 9 }, FailureKind::Unreadable),
        (Ending::Refused { category: None }, FailureKind::Refused),
        (Ending::ContextExceeded, FailureKind::OverBudget),
    ] {
        let asker = asker(scripted([answer(ending)]), Limits::default());
        assert_eq!(asker.ask(&question("v1:1")).await.unwrap_err().kind, kind);
        assert_eq!(asker.spent_today().await.unwrap(), Spent { calls: 1, dollars: 2.0 });
    }
}

/// A ledger that takes its time, as a database does.
#[derive(Default)]
struct Slow(MemoryLedger);

#[async_trait]
impl Ledger for Slow {
    async fn reply(&self, key: &ReplyKey) -> Result<Option<Reply>, LedgerError> {
        self.0.reply(key).await
    }
    async fn keep_reply(&self, key: &ReplyKey, reply: &Reply) -> Result<(), LedgerError> {
        self.0.keep_reply(key, reply).await
    }
    async fn forget_reply(&self, key: &ReplyKey) -> Result<(), LedgerError> {
        self.0.forget_reply(key).await
    }
    async fn spent(&self, day: Date) -> Result<Spent, LedgerError> {
        let spent = self.0.spent(day).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        spent
    }
    async fn record(&self, day: Date, spent: Spent) -> Result<(), LedgerError> {
        self.0.record(day, spent).await
    }
}

#[tokio::test(start_paused = true)]
async fn questions_at_once_do_not_share_the_last_call() {
    let script = scripted((0..4).map(|_| Step::say("x")));
    let limits = Limits { calls_per_day: Some(1), ..Limits::default() };
    let asker = Asker::new(script.clone().into(), Arc::new(Slow::default()), limits, Prices::default());
    let (a, b) = (question("v1:1"), question("v1:2"));
    let (a, b) = tokio::join!(asker.ask(&a), asker.ask(&b));
    assert_eq!((usize::from(a.is_ok()) + usize::from(b.is_ok()), script.asked().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn prices_come_from_the_configuration_too() {
    let own = [("scripted".to_owned(), Price { input: 1_000.0, output: 10_000.0, long: None })];
    let prices = Prices::with(own.into()).unwrap();
    let script = scripted([Step::say("x")]);
    let asker = Asker::new(script.into(), Arc::new(MemoryLedger::default()), Limits::default(), prices);
    assert_eq!(
        asker.ask(&question("v1:1")).await.unwrap().cost_usd.map(|c| c.to_string()).as_deref(),
        Some("1.9")
    );
    let unknown = crate::asker(scripted([Step::say("x")]), Limits::default());
    assert_eq!(unknown.ask(&question("v1:1")).await.unwrap().cost_usd, None);
}

/// A ledger whose disk is full, or whose database is locked.
#[derive(Default)]
struct Broken {
    reads: bool,
    kept: Mutex<u32>,
}

#[async_trait]
impl Ledger for Broken {
    async fn reply(&self, _: &ReplyKey) -> Result<Option<Reply>, LedgerError> {
        Err(LedgerError::new("database is locked"))
    }
    async fn keep_reply(&self, _: &ReplyKey, _: &Reply) -> Result<(), LedgerError> {
        *self.kept.lock().unwrap() += 1;
        Err(LedgerError::new("disk is full"))
    }
    async fn forget_reply(&self, _: &ReplyKey) -> Result<(), LedgerError> {
        Ok(())
    }
    async fn spent(&self, _: Date) -> Result<Spent, LedgerError> {
        if self.reads { Ok(Spent::default()) } else { Err(LedgerError::new("database is locked")) }
    }
    async fn record(&self, _: Date, _: Spent) -> Result<(), LedgerError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_ledger_costs_no_answer_but_spends_nothing_blindly() {
    let script = scripted([Step::say("x")]);
    let ask = async |ledger| {
        Asker::new(script.clone().into(), Arc::new(ledger), Limits::default(), Prices::default())
            .ask(&question("v1:1"))
            .await
    };
    let failure = ask(Broken::default()).await.unwrap_err();
    assert_eq!((failure.kind, script.asked().len()), (FailureKind::OverBudget, 0));
    assert!(failure.detail.contains("database is locked"), "{failure}");
    let reply = ask(Broken { reads: true, ..Broken::default() }).await.unwrap();
    assert!(reply.notice.unwrap().contains("disk is full"));
}

#[tokio::test(start_paused = true)]
async fn a_script_is_read_from_lines() {
    let script =
        "{\"text\": \"{}\"}\n\n{\"failure\": \"timeout\", \"detail\": \"too slow\", \"after_ms\": 2000}\n";
    let asker = asker(Arc::new(Scripted::from_lines(script).unwrap()), Limits::default());
    let start = Instant::now();
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap().text, "{}");
    let failure = asker.ask(&question("v1:2")).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.detail.as_str(), start.elapsed().as_secs()),
        (FailureKind::Timeout, "too slow", 2)
    );
    assert!(asker.ask(&question("v1:3")).await.unwrap_err().detail.contains("no further answer"));
    for (script, line) in [
        ("{\"text\": \"x\"}\noops", 2),
        ("{}", 1),
        ("{\"text\": \"x\", \"failure\": \"refused\"}", 1),
        ("{\"txt\": 1}", 1),
    ] {
        assert_eq!(Scripted::from_lines(script).unwrap_err().line, line, "{script}");
    }
}
