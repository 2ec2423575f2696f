//! Who is told of failures, and whether they can be: what is configured, and how deliveries stand.

use coroner_server::alerts::Channel;
use coroner_store::{ChannelDeliveries, Store};
use tokio::runtime::Runtime;

use super::Check;
use crate::context::Context;
use crate::quantities::counted;

/// A line for each channel. Nothing is sent: `coroner alerts test` does that.
pub(super) fn alerts(context: &Context, store: Option<&Store>, runtime: &Runtime) -> Vec<Check> {
    let configured = match crate::alerts::configured(context) {
        Err(error) => return vec![Check::problem("alerts", error.to_string())],
        Ok(None) => {
            return vec![Check::note(
                "alerts",
                "nobody is told of failures",
                "add an [[alerts.channels]] to the configuration file; docs/alerts.md shows mail, Slack and webhooks",
            )];
        }
        Ok(Some(settings)) => settings,
    };
    let names: Vec<String> = configured.channels.iter().map(|it| it.name().to_owned()).collect();
    // a store that can't be read has a line of its own
    let states = store.and_then(|store| runtime.block_on(store.deliveries(&names)).ok()).unwrap_or_default();
    let states = states.into_iter().map(Some).chain(std::iter::repeat(None));
    configured.channels.iter().zip(states).map(|(channel, state)| line(channel, state.as_ref())).collect()
}

fn line(channel: &Channel, state: Option<&ChannelDeliveries>) -> Check {
    let name = channel.name();
    if let Some(problem) = channel.problem() {
        return Check::problem("alerts", format!("{name} ({}): {problem}", channel.kind()));
    }
    let mut detail = format!("{name} ({}) to {}", channel.kind(), channel.place());
    if let Some(state) = state {
        if state.waiting > 0 {
            detail.push_str(&format!("; {} waiting", counted(state.waiting, "message", "messages")));
        }
        if state.failed > 0 {
            detail.push_str(&format!("; {} given up", counted(state.failed, "message", "messages")));
        }
        if let Some(error) = &state.last_error {
            return Check {
                advice: Some(format!(
                    "try `coroner alerts test {name}`; `coroner alerts list` shows what waits"
                )),
                ..Check::problem("alerts", format!("{detail}; the last try failed: {error}"))
            };
        }
    }
    match channel.warning() {
        Some(warning) => Check::note("alerts", detail, warning),
        None => Check::ok("alerts", detail),
    }
}
