//! `coroner advice`: what earlier failures teach whoever proposes the next experiment.

use std::io::IsTerminal;
use std::time::Duration;

use coroner_diagnosis::seconds;
use coroner_lab::advice::{Advice, Known};
use coroner_store::{Error, Scope, Within};
use jiff::Timestamp;

use crate::args::{AdviceArgs, Format};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::kept;
use crate::printable::printable_lines;

const DAY: u64 = 24 * 3600;
/// How far back, if that is not said.
pub(crate) const WINDOW: Duration = Duration::from_secs(7 * DAY);

pub(crate) fn advice(args: &AdviceArgs, context: &Context) -> Result<u8, Failed> {
    let policy = args.policy.as_deref().map(|path| crate::check::policy(Some(path))).transpose()?;
    let runtime = crate::analyst::runtime()?;
    let mut known = Known::default();
    match kept::open(context, &runtime)? {
        None if args.parent.is_some() => {
            complain("nothing is kept yet; try: coroner run -- false");
            return Ok(REPORTED);
        }
        None => context.note("nothing is kept yet; try: coroner run -- false"),
        Some(store) => {
            let parent = match &args.parent {
                None => None,
                Some(id) => match runtime.block_on(store.get(id)) {
                    Ok(experiment) => Some(experiment.listed.id),
                    Err(error @ Error::NotFound { .. }) => {
                        complain(&error.to_string());
                        return Ok(REPORTED);
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            let (within, window) = within(args, Timestamp::now());
            let top = usize::from(args.top);
            known = runtime.block_on(Known::gather(&store, within, top, parent.as_ref()))?;
            known.window = window;
        }
    }
    known.policy = policy.map(|policy| policy.in_words()).unwrap_or_default();
    let advice = Advice::new(&known, args.budget);
    match context.format {
        Format::Json => context.print_json(&advice)?,
        // a program takes it as it is
        Format::Text if !std::io::stdout().is_terminal() => context.print(&advice.text)?,
        Format::Text => context.print(&printable_lines(&advice.text, context.out().unicode))?,
    }
    if advice.items.is_empty() && advice.left_out == 0 && known.policy.is_empty() {
        context.note(&format!(
            "no candidate has failed by its own fault {}; nothing to tell",
            if known.window.is_empty() { "yet" } else { &known.window }
        ));
    }
    Ok(DONE)
}

/// The failures that count, and how to call the time in which they happened.
fn within(args: &AdviceArgs, now: Timestamp) -> (Within, String) {
    if let Some(run) = args.run {
        return (Within { scope: Scope::Run(run), ..Within::default() }, format!("in run {run}"));
    }
    let window = args.window.unwrap_or(WINDOW);
    let scope = args.kind.clone().map_or(Scope::All, Scope::Type);
    let since = now.checked_sub(window).unwrap_or(Timestamp::UNIX_EPOCH);
    (Within { scope, since: Some(since), until: None }, format!("in the last {}", length(window)))
}

/// "7 days", "36 h 00 min", "90 s".
pub(crate) fn length(window: Duration) -> String {
    match window.as_secs() {
        DAY => "24 hours".to_owned(),
        n if n > DAY && n.is_multiple_of(DAY) => format!("{} days", n / DAY),
        _ => seconds(window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_told_in_round_numbers() {
        for (hours, text) in [(24, "24 hours"), (168, "7 days"), (36, "36 h 00 min"), (1, "1 h 00 min")] {
            assert_eq!(length(Duration::from_secs(hours * 3600)), text);
        }
    }
}
