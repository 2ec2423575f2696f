//! Where runs are reported, whether a desk answers there, and what waits for it.

use std::time::Duration;

use coroner_server::reporter::NotTaken;

use super::Check;
use crate::context::Context;
use crate::quantities::counted;
use crate::report;

const PATIENCE: Duration = Duration::from_secs(5);

/// Nothing is said where nothing is reported and nothing waits.
pub(super) fn report(context: &Context, offline: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    match report::desk(context, None) {
        Ok(None) => {}
        Err(error) => checks.push(Check::problem("report", error.to_string())),
        Ok(Some(desk)) => {
            let to = format!("`coroner run` reports to {}", desk.url());
            checks.push(if offline {
                Check::ok("report", format!("{to}; not looked at, because --offline was given"))
            } else {
                match desk.reach(PATIENCE) {
                    Ok(()) => Check::ok("report", format!("{to}, where a desk answers and takes them")),
                    Err(why) => Check {
                        advice: Some(
                            match why {
                                NotTaken::Refused { .. } => "until then, reports are kept aside on disk",
                                _ => "until it answers, reports wait on disk and are delivered later",
                            }
                            .to_owned(),
                        ),
                        ..Check::problem("report", format!("{to}: {why}"))
                    },
                }
            });
            let spool = report::spool(context);
            if let Err(why) = super::checks::takes_files(spool.folder()) {
                let folder = spool.folder().display();
                checks.push(Check {
                    advice: Some("set report_spool (CORONER_REPORT_SPOOL) to a folder that can be written: until then what the desk does not take at once is lost".to_owned()),
                    ..Check::problem("report", format!("reports can't wait in {folder}: {why}"))
                });
            }
        }
    }
    let (waiting, aside) = report::waiting(context);
    let folder = report::spool(context).folder().display().to_string();
    if waiting > 0 {
        let waits = counted(waiting as u64, "report waits", "reports wait");
        checks.push(Check::note("report", format!("{waits} in {folder}"), "coroner report deliver"));
    }
    if aside > 0 {
        let are = counted(aside as u64, "report is kept aside", "reports are kept aside");
        checks.push(Check {
            advice: Some(
                "coroner report list says why; when that is mended: coroner report deliver --again"
                    .to_owned(),
            ),
            ..Check::problem("report", format!("{are} in {folder}"))
        });
    }
    checks
}
