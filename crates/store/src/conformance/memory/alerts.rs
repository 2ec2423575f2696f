//! What alerts need, in memory. It knows no groups that people decide about: nothing is quiet, nothing reopens.

use std::collections::BTreeSet;

use async_trait::async_trait;
use coroner_diagnosis::Diagnosis;
use jiff::Timestamp;

use super::{Memory, State};
use crate::backend::AlertBackend;
use crate::{
    AlertCause, AlertEvent, AlertFailure, AlertRound, AlertStep, Analysis, ChannelDeliveries, Error,
    MessageState, NewMessage, OutboxMessage, RunId, Tried, cause_text,
};

#[derive(Clone, Default)]
pub(super) struct Alerts {
    memory: Option<(i64, String)>,
    events: Vec<(i64, Kept)>,
    last_event: i64,
    counted: BTreeSet<(u64, String)>,
    outbox: Vec<(OutboxMessage, Option<String>)>,
}

#[derive(Clone)]
pub(super) enum Kept {
    Failed { key: i64, again: bool },
    Stopped(RunId),
}

impl Alerts {
    pub(super) fn notice(&mut self, what: Kept) {
        if self.memory.is_some() {
            self.last_event += 1;
            self.events.push((self.last_event, what));
        }
    }

    fn add(&mut self, new: NewMessage) -> &mut OutboxMessage {
        assert!(self.outbox.iter().all(|(it, _)| it.delivery != new.delivery), "a delivery is unique");
        let message = OutboxMessage {
            id: self.outbox.len() as i64 + 1,
            delivery: new.delivery,
            channel: new.channel,
            incident: new.incident,
            content: new.content,
            state: MessageState::Waiting,
            attempts: 0,
            created_at: new.at,
            due_at: new.at,
            settled_at: None,
            error: None,
        };
        self.outbox.push((message, None));
        &mut self.outbox.last_mut().unwrap().0
    }
}

impl State {
    /// `ended`: it has just come to its end.
    pub(super) fn diagnose(&mut self, key: i64, diagnosis: Option<Diagnosis>, ended: bool) {
        let it = self.experiments.get_mut(&key).unwrap();
        if let Some(d) = &diagnosis {
            let known = (it.listed.started_at, cause_text(d));
            if !self.seen.contains(&d.signature) {
                self.seen.push(d.signature.clone());
            }
            let first = self.signatures.entry(d.signature.clone()).or_insert(known);
            first.0 = first.0.min(it.listed.started_at);
        }
        let before = it.listed.analysis.take();
        it.listed.analysis = diagnosis.as_ref().map(|d| Analysis {
            category: d.failure_category,
            root_cause: d.root_cause.clone(),
            fix_suggestion: d.fix_suggestion.clone(),
            severity: d.severity,
            origin: d.origin,
            confidence: d.confidence,
            signature: d.signature.clone(),
            retryable: d.retryable,
            rule: d.provenance.rule.clone(),
        });
        let proposal = self.lab.candidates.get(&key).map_or(0.0, |it| it.new.proposal_cost.dollars);
        it.listed.dollars = diagnosis.as_ref().and_then(|d| d.cost_usd).unwrap_or(0.0) + proposal;
        it.diagnosis = diagnosis;
        let words = |a: &Analysis| (a.category, a.severity, a.origin, a.signature.clone());
        let after = it.listed.analysis.as_ref().map(words);
        let before = before.as_ref().map(words);
        if after.is_some() && (ended || before != after) {
            self.alerts.notice(Kept::Failed { key, again: !ended && before.is_some() });
        }
    }

    fn cause(&self, kept: &Kept) -> AlertCause {
        let (key, again) = match kept {
            Kept::Stopped(id) => {
                return self
                    .lab
                    .run(*id)
                    .map_or(AlertCause::Gone, |run| AlertCause::Stopped(Box::new(run.clone())));
            }
            Kept::Failed { key, again } => (*key, *again),
        };
        let Some(experiment) = self.experiments.get(&key).cloned() else { return AlertCause::Gone };
        let number = experiment.listed.id.number();
        let signature = experiment.listed.analysis.as_ref().unwrap().signature.clone();
        let told = self.alerts.counted.iter().filter(|(it, _)| *it == number);
        AlertCause::Failed(Box::new(AlertFailure {
            is_new: self.signatures[&signature].0 == experiment.listed.started_at,
            signature,
            reopened: false,
            is_quiet: false,
            run: self.lab.candidates.get(&key).map(|it| it.new.run),
            ended_at: experiment.listed.started_at,
            again,
            told: told.map(|(_, channel)| channel.clone()).collect(),
            experiment,
        }))
    }
}

#[async_trait]
impl AlertBackend for Memory {
    async fn expect_alerts(&self) -> Result<(), Error> {
        self.state().alerts.memory.get_or_insert((0, String::new()));
        Ok(())
    }

    async fn alert_round(&self, limit: usize) -> Result<Option<AlertRound>, Error> {
        let state = self.state();
        let Some((version, memory)) = state.alerts.memory.clone() else { return Ok(None) };
        let some = state.alerts.events.iter().take(limit);
        let events = some.map(|(id, kept)| AlertEvent { id: *id, cause: state.cause(kept) }).collect();
        Ok(Some(AlertRound { version, memory, events }))
    }

    async fn settle_alerts(&self, step: AlertStep) -> Result<bool, Error> {
        let mut state = self.state();
        let alerts = &mut state.alerts;
        if alerts.memory.as_ref().is_none_or(|(version, _)| *version != step.version) {
            return Ok(false);
        }
        alerts.memory = Some((step.version + 1, step.memory));
        alerts.events.retain(|(id, _)| !step.done.contains(id));
        alerts.counted.extend(step.counted);
        for message in step.messages {
            alerts.add(message);
        }
        Ok(true)
    }

    async fn claim_message(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        let mut state = self.state();
        let due =
            state.alerts.outbox.iter_mut().filter(|(it, _)| {
                it.channel == channel && it.state == MessageState::Waiting && it.due_at <= now
            });
        let Some((message, taken_by)) = due.min_by_key(|(it, _)| it.due_at) else { return Ok(None) };
        *taken_by = Some(by.to_owned());
        message.due_at = until;
        message.attempts += 1;
        Ok(Some(message.clone()))
    }

    async fn settle_message(&self, id: i64, by: &str, tried: Tried, now: Timestamp) -> Result<bool, Error> {
        let mut state = self.state();
        let ours = |it: &&mut (OutboxMessage, Option<String>)| {
            it.0.id == id && it.1.as_deref() == Some(by) && it.0.state == MessageState::Waiting
        };
        let Some((message, taken_by)) = state.alerts.outbox.iter_mut().find(ours) else { return Ok(false) };
        *taken_by = None;
        (message.state, message.due_at, message.settled_at, message.error) = match tried {
            Tried::Sent => (MessageState::Sent, now, Some(now), None),
            Tried::Again(why, at) => (MessageState::Waiting, at, None, Some(why)),
            Tried::Failed(why) => (MessageState::Failed, now, Some(now), Some(why)),
        };
        Ok(true)
    }

    async fn taken_messages(&self) -> Result<Vec<(i64, String)>, Error> {
        let state = self.state();
        let taken = state.alerts.outbox.iter().filter_map(|(it, by)| Some((it.id, by.clone()?)));
        Ok(taken.collect())
    }

    async fn keep_message(&self, message: NewMessage, error: Option<String>) -> Result<(), Error> {
        let mut state = self.state();
        let at = message.at;
        let kept = state.alerts.add(message);
        kept.state = if error.is_some() { MessageState::Failed } else { MessageState::Sent };
        (kept.attempts, kept.settled_at, kept.error) = (1, Some(at), error);
        Ok(())
    }

    async fn outbox(&self, state: Option<MessageState>, limit: usize) -> Result<Vec<OutboxMessage>, Error> {
        let all = self.state();
        let fitting = all.alerts.outbox.iter().rev().map(|(it, _)| it);
        Ok(fitting.filter(|it| state.is_none_or(|state| it.state == state)).take(limit).cloned().collect())
    }

    async fn deliveries(&self, channels: &[String]) -> Result<Vec<ChannelDeliveries>, Error> {
        let all = self.state();
        let of = |channel: &String| {
            let ours = || all.alerts.outbox.iter().map(|(it, _)| it).filter(|it| it.channel == *channel);
            let count = |state| ours().filter(|it| it.state == state).count() as u64;
            let last = |state| ours().filter(|it| it.state == state).max_by_key(|it| it.settled_at);
            let last_sent = last(MessageState::Sent).and_then(|it| it.settled_at);
            let failed = last(MessageState::Failed).filter(|it| it.settled_at >= last_sent);
            let waiting = ours().filter(|it| it.state == MessageState::Waiting && it.error.is_some());
            let last_error = waiting.max_by_key(|it| it.due_at).or(failed).and_then(|it| it.error.clone());
            ChannelDeliveries {
                channel: channel.clone(),
                waiting: count(MessageState::Waiting),
                failed: count(MessageState::Failed),
                last_sent,
                last_error,
            }
        };
        Ok(channels.iter().map(of).collect())
    }

    async fn retry_messages(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error> {
        let mut state = self.state();
        let mut changed = 0;
        for (message, taken_by) in &mut state.alerts.outbox {
            let free = taken_by.is_none() || message.due_at <= now;
            if id.is_some_and(|id| id != message.id) || message.state == MessageState::Sent || !free {
                continue;
            }
            if message.state == MessageState::Failed {
                (message.attempts, message.created_at) = (0, now);
            }
            (message.state, message.due_at, message.settled_at) = (MessageState::Waiting, now, None);
            *taken_by = None;
            changed += 1;
        }
        Ok(changed)
    }
}
