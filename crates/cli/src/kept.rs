//! The store as the commands that look at it open it, and moments and stretches of time as they show them.

use std::path::Path;
use std::sync::Arc;

use coroner_store::Store;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::runtime::Runtime;

use crate::context::{Context, Failed};
use crate::run::close_orphans;

/// Opens the store, if anything was ever kept, and closes what an earlier coroner left open.
pub(crate) fn open(context: &Context, runtime: &Arc<Runtime>) -> Result<Option<Store>, Failed> {
    let url = context.store_url();
    // looking must not make a file
    if url.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty() && !Path::new(path).exists()) {
        return Ok(None);
    }
    let store = runtime.block_on(crate::storage::open(context))?;
    close_orphans(&store, context, runtime).iter().for_each(|note| context.note(note));
    Ok(Some(store))
}

/// "3 min ago", "yesterday 14:02", "2026-11-23 14:02".
pub(crate) fn ago(then: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let seconds = now.as_second() - then.as_second();
    match seconds {
        ..0 => moment(then, zone),
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..43_200 => format!("{} h ago", seconds / 3600),
        _ => {
            let (then, now) = (then.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
            let time = then.strftime("%H:%M");
            if then.date() == now.date() {
                format!("today {time}")
            } else if now.date().yesterday().is_ok_and(|day| day == then.date()) {
                format!("yesterday {time}")
            } else {
                then.strftime("%Y-%m-%d %H:%M").to_string()
            }
        }
    }
}

/// "2026-11-23 14:02:11".
pub(crate) fn moment(then: Timestamp, zone: &TimeZone) -> String {
    then.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_from_now() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-23T15:30:00Z");
        for (then, expected) in [
            ("2026-11-23T15:29:30Z", "just now"),
            ("2026-11-23T15:27:00Z", "3 min ago"),
            ("2026-11-23T12:00:00Z", "3 h ago"),
            ("2026-11-23T01:05:00Z", "today 01:05"),
            ("2026-11-22T23:05:00Z", "yesterday 23:05"),
            ("2026-11-01T23:05:00Z", "2026-11-01 23:05"),
            ("2026-11-23T15:31:00Z", "2026-11-23 15:31:00"),
        ] {
            assert_eq!(ago(at(then), now, &TimeZone::UTC), expected);
        }
    }
}
