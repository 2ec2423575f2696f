//! The front: a question goes in, a reply or a reason comes out, in time and inside the budget.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use coroner_diagnosis::{ModelFailure, Question, Reply};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::Answer;
use crate::breaker::Breaker;
use crate::catalogue;
use crate::endpoint::Deadline;
use crate::failure::{AskError, Stage};
use crate::key::Credential;
use crate::ledger::{Ledger, LedgerError, ReplyKey, Spent, lock};
use crate::model::Model;
use crate::prices::Prices;
use crate::probe::{self, Probe};

/// What an [`Asker`] keeps to.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// For one question, every retry and the reading of the answer inside it; not the wait for its turn.
    pub total: Duration,
    /// How often a failed attempt is repeated at most.
    pub retries: u32,
    /// Questions under way at once.
    pub concurrency: usize,
    /// Questions a day (UTC); each counts once however often it is retried.
    pub calls_per_day: Option<u64>,
    /// US dollars a day (UTC). What is under way when the limit is reached is still paid; what an answer cost
    /// that never came is known to nobody and not counted, nor is a model without a known price.
    pub dollars_per_day: Option<f64>,
    /// Failures in a row after which the provider is left alone.
    pub breaker_after: u32,
    /// For how long.
    pub breaker_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            retries: 2,
            concurrency: 4,
            calls_per_day: Some(1_000),
            dollars_per_day: Some(5.0),
            breaker_after: 5,
            breaker_pause: Duration::from_secs(60),
        }
    }
}

/// Today's date in UTC.
type Today = Box<dyn Fn() -> Date + Send + Sync>;

/// Puts questions to a [`Model`].
pub struct Asker {
    model: Model,
    ledger: Arc<dyn Ledger>,
    limits: Limits,
    prices: Prices,
    breaker: Breaker,
    turns: Semaphore,
    /// Held while the budget is looked at and the call is entered, so that two do not spend the same rest.
    till: tokio::sync::Mutex<()>,
    /// The model that stands in for the configured one, once that was found gone.
    stand_in: tokio::sync::Mutex<Option<String>>,
    notices: Mutex<Vec<String>>,
    today: Today,
}

/// An error, and how many attempts it took.
struct GaveUp {
    error: AskError,
    attempts: u32,
}

impl From<AskError> for GaveUp {
    fn from(error: AskError) -> Self {
        Self { error, attempts: 1 }
    }
}

impl Asker {
    /// Asks `model` inside `limits`; what was answered and spent is kept in `ledger`.
    #[must_use]
    pub fn new(model: Model, ledger: Arc<dyn Ledger>, limits: Limits, prices: Prices) -> Self {
        Self {
            model,
            ledger,
            prices,
            breaker: Breaker::new(limits.breaker_after, limits.breaker_pause),
            turns: Semaphore::new(limits.concurrency.max(1)),
            till: tokio::sync::Mutex::default(),
            stand_in: tokio::sync::Mutex::default(),
            notices: Mutex::default(),
            today: Box::new(|| jiff::Timestamp::now().to_zoned(TimeZone::UTC).date()),
            limits,
        }
    }

    /// Takes the date from somewhere else than the clock.
    #[must_use]
    pub fn with_today(mut self, today: impl Fn() -> Date + Send + Sync + 'static) -> Self {
        self.today = Box::new(today);
        self
    }

    /// The model behind it.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A reply, from the cache or the model, or why there is none.
    pub async fn ask(&self, question: &Question) -> Result<Reply, ModelFailure> {
        self.reply(question).await.map_err(|GaveUp { error, attempts }| {
            let mut failure = ModelFailure::from(error);
            if attempts > 1 {
                failure.detail.push_str(&format!(" (tried {attempts} times)"));
            }
            failure
        })
    }

    async fn reply(&self, question: &Question) -> Result<Reply, GaveUp> {
        let key = self.key(question);
        if let Some(kept) = self.kept(&key).await {
            return Ok(kept);
        }
        if let Credential::Missing(error) = self.model.credential() {
            return Err(AskError::NoKey(error.clone()).into());
        }
        self.breaker.check()?;
        let _turn = self.turns.acquire().await;
        // while this one waited for its turn, another one with the same signature may have been answered
        if let Some(kept) = self.kept(&key).await {
            return Ok(kept);
        }
        let ticket = self.breaker.enter()?;
        self.enter_call().await?;
        let outcome = self.converse(question).await;
        ticket.settle(outcome.as_ref().err().map(|gave_up| &gave_up.error));
        let answer = outcome?;

        let cost_usd = self.prices.cost(&answer.model, answer.usage);
        self.enter_cost(cost_usd).await;
        let (model, usage) = (answer.model.clone(), answer.usage);
        let mut reply = Reply {
            text: answer.into_text()?,
            model,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd,
            cached: false,
            notice: None,
        };
        if let Err(error) = self.ledger.keep_reply(&key, &reply).await {
            self.note(format!("the reply could not be kept for later: {error}"));
        }
        let notices = std::mem::take(&mut *lock(&self.notices));
        reply.notice = (!notices.is_empty()).then(|| notices.join("; "));
        Ok(reply)
    }

    /// Tells that the kept reply to `question` did not stand up to the evidence: the next time the model is
    /// asked again.
    pub async fn forget(&self, question: &Question) -> Result<(), LedgerError> {
        self.ledger.forget_reply(&self.key(question)).await
    }

    /// Looks whether the provider can be reached, takes the key and has the model. Costs nothing.
    pub async fn probe(&self) -> Probe {
        probe::probe(&self.model, &self.prices, Deadline::starting_now(self.limits.total)).await
    }

    /// The models that the provider has.
    pub async fn models(&self) -> Result<Vec<catalogue::ModelInfo>, AskError> {
        self.model.list(Deadline::starting_now(self.limits.total)).await
    }

    /// What was spent today.
    pub async fn spent_today(&self) -> Result<Spent, LedgerError> {
        self.ledger.spent((self.today)()).await
    }

    fn key(&self, question: &Question) -> ReplyKey {
        ReplyKey {
            signature: question.signature.clone(),
            prompt_version: question.prompt_version.to_owned(),
            model: self.model.name().to_owned(),
        }
    }

    /// A ledger that can't be read keeps nobody from asking; the budget below is stricter.
    async fn kept(&self, key: &ReplyKey) -> Option<Reply> {
        let kept = self.ledger.reply(key).await.ok().flatten()?;
        Some(Reply { cached: true, cost_usd: None, notice: None, ..kept })
    }

    /// Enters the call into the ledger, if the budget allows it.
    async fn enter_call(&self) -> Result<(), AskError> {
        let broken = |e: LedgerError| AskError::LedgerBroken { why: e.why };
        let today = (self.today)();
        let _till = self.till.lock().await;
        let spent = self.ledger.spent(today).await.map_err(broken)?;
        if let Some(limit) = self.limits.calls_per_day.filter(|limit| spent.calls >= *limit) {
            return Err(AskError::BudgetSpent {
                spent: spent.calls.to_string(),
                limit: format!("{limit} questions"),
            });
        }
        if let Some(limit) = self.limits.dollars_per_day.filter(|limit| spent.dollars >= *limit) {
            return Err(AskError::BudgetSpent {
                spent: format!("${:.2}", spent.dollars),
                limit: format!("${limit:.2}"),
            });
        }
        self.ledger.record(today, Spent { calls: 1, dollars: 0.0 }).await.map_err(broken)
    }

    async fn enter_cost(&self, cost: Option<f64>) {
        let Some(dollars) = cost else { return };
        if let Err(error) = self.ledger.record((self.today)(), Spent { calls: 0, dollars }).await {
            self.note(format!("${dollars:.4} could not be entered as spent: {error}"));
        }
    }

    /// Asks until there is an answer, nothing more to hope for, or no time left.
    async fn converse(&self, question: &Question) -> Result<Answer, GaveUp> {
        let deadline = Deadline::starting_now(self.limits.total);
        let mut attempts = 0;
        loop {
            let model = self.current_model().await;
            attempts += 1;
            let attempt = timeout_at(deadline.at, self.model.ask(&model, question, deadline)).await;
            let failed = match attempt.unwrap_or_else(|_| Err(deadline.missed(Stage::Waiting))) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let AskError::ModelGone { available, .. } = failed.error.clone() {
                match self.stand_in_for(&model, deadline).await {
                    Ok(()) => {
                        attempts -= 1;
                        continue;
                    }
                    Err(others) => {
                        let available = if others.is_empty() { available } else { others };
                        return Err(GaveUp { error: failed.error.with_available(available), attempts });
                    }
                }
            }
            match failed.advice.wait(attempts - 1, fastrand::f64()) {
                Some(pause) if attempts <= self.limits.retries && Instant::now() + pause < deadline.at => {
                    sleep(pause).await;
                }
                _ => return Err(GaveUp { error: failed.error, attempts }),
            }
        }
    }

    async fn current_model(&self) -> String {
        self.stand_in.lock().await.clone().unwrap_or_else(|| self.model.name().to_owned())
    }

    /// Finds the newest active model of the line that `gone` belonged to and uses it from now on. Done once in
    /// the life of a process: a stand-in that is gone too is an error. Fails with what there is instead.
    async fn stand_in_for(&self, gone: &str, deadline: Deadline) -> Result<(), Vec<String>> {
        let mut stand_in = self.stand_in.lock().await;
        match stand_in.as_deref() {
            // another question has found it out in the meantime
            Some(found) if found != gone => return Ok(()),
            Some(_) => return Err(Vec::new()),
            None => {}
        }
        let listed = timeout_at(deadline.at, self.model.list(deadline)).await;
        let Ok(Ok(models)) = listed else { return Err(Vec::new()) };
        let still_there = models.iter().any(|m| m.id == gone && m.answers());
        match catalogue::replacement(gone, &models).filter(|_| !still_there) {
            Some(newer) => {
                self.note(format!(
                    "model {gone} is gone at {}; using {} until the configuration names another one",
                    self.model.endpoint(),
                    newer.id
                ));
                *stand_in = Some(newer.id.clone());
                Ok(())
            }
            None => Err(models.into_iter().map(|m| m.id).filter(|id| id != gone).collect()),
        }
    }

    /// To be said with the next reply.
    fn note(&self, notice: String) {
        lock(&self.notices).push(notice);
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker")
            .field("model", &self.model)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
