//! A message on its way to a channel: the notice, and what goes around it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::notice::{Notice, clock};

/// A message as it is sent.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    /// Unique and the same at every try.
    pub(super) delivery: &'a str,
    pub(super) channel: &'a str,
    pub(super) notice: &'a Notice,
    /// When it was made, not when it is sent.
    pub(super) at: Timestamp,
    /// Where people reach the desk.
    pub(super) desk: Option<&'a str>,
}

impl Outgoing<'_> {
    /// What a webhook is sent. The names are documented in docs/alerts.md and never change.
    pub(super) fn json(&self) -> Value {
        let it = self.notice;
        let links: serde_json::Map<String, Value> =
            it.links(self.desk).into_iter().map(|(name, url)| (name.to_lowercase(), url.into())).collect();
        json!({
            "id": self.delivery,
            "kind": it.kind,
            "about": it.about,
            "incident": it.incident,
            "sequence": it.sequence,
            "channel": self.channel,
            "rule": it.rule,
            "summary": it.subject,
            "severity": it.severity,
            "category": it.category,
            "origin": it.origin,
            "root_cause": it.latest.cause,
            "fix_suggestion": it.latest.fix,
            "evidence": it.latest.evidence,
            "signature": it.signature,
            "is_new": it.is_new,
            "count": it.count,
            "total": it.total,
            "causes": it.causes,
            "cause_count": it.cause_count,
            "hosts": it.hosts,
            "first_at": time(it.first_at),
            "last_at": time(it.last_at),
            "lost_seconds": it.lost_ms as f64 / 1000.0,
            "experiment": (it.latest.number > 0).then(|| json!({"number": it.latest.number, "id": it.latest.id})),
            "links": links,
            "created_at": time(self.at.as_millisecond()),
        })
    }

    /// As text, readable in a terminal.
    pub(super) fn text(&self) -> String {
        let it = self.notice;
        let mut text = it.what() + "\n";
        let whose = it.whose();
        if !whose.is_empty() {
            text.push_str(&format!("{whose}\n"));
        }
        if !it.latest.fix.is_empty() {
            text.push_str(&format!("\nFix       {}\n", super::notice::one_line(&it.latest.fix)));
        }
        if it.cause_count > 1 {
            text.push_str(&format!("\nCauses    {} different ones\n", it.cause_count));
            for cause in &it.causes {
                text.push_str(&format!("  {:>6}  {}\n", cause.count, super::notice::one_line(&cause.cause)));
            }
        }
        if !it.latest.evidence.is_empty() {
            text.push_str("\nEvidence\n");
            for line in &it.latest.evidence {
                let words = super::notice::one_line(&line.text);
                text.push_str(&format!("  {} {:>6}  {words}\n", line.source, line.line));
            }
        }
        let links = it.links(self.desk);
        if !links.is_empty() || it.command().is_some() {
            text.push('\n');
        }
        for (name, url) in links {
            text.push_str(&format!("{name:<10}{url}\n"));
        }
        if let Some(command) = it.command() {
            text.push_str(&format!("More      {command}\n"));
        }
        text.push_str(&format!("\n-- \n{}\n", self.why()));
        text
    }

    /// Why somebody gets this.
    pub(super) fn why(&self) -> String {
        let it = self.notice;
        let text = format!(
            "coroner, channel {}, rule {}, incident {}, message {}, {}",
            self.channel,
            it.rule,
            it.incident,
            it.sequence,
            clock(self.at.as_millisecond())
        );
        super::notice::one_line(&text)
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}
