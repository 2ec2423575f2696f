//! `coroner report`, and the desk and the spool as they are configured.

use std::path::PathBuf;

use anyhow::anyhow;
use coroner_diagnosis::bytes;
use coroner_server::reporter::{Delivered, Desk, NotTaken, Spool, Waiting, deliver_waiting};
use secrecy::SecretString;

use crate::args::{Format, ReportArgs, ReportCommand};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::printable::printable;
use crate::quantities::counted;

/// The desk can't be reached.
const OUTSIDE: u8 = 3;
/// A file that is longer than this holds no token.
const LONGEST_TOKEN: u64 = 16 << 10;

pub(crate) fn command(args: &ReportArgs, context: &Context) -> Result<u8, Failed> {
    match &args.command {
        ReportCommand::List => list(context),
        ReportCommand::Deliver { report, again } => {
            let desk = desk(context, report.as_deref())?.ok_or_else(|| {
                anyhow!("no desk is named: give --report URL, or set report in the configuration or CORONER_REPORT")
            })?;
            let spool = spool(context);
            let done = deliver_waiting(&spool, &desk, *again);
            say(&done, context);
            context.print(&format!("{}\n", counted(done.taken, "report delivered", "reports delivered")))?;
            if let Some(error) = &done.failed {
                let text = format!("the spool {} can't be used: {error}", spool.folder().display());
                return Err(Failed::Outside(anyhow!(text)));
            }
            Ok(match (&done.later, done.aside.is_empty()) {
                (Some(_), _) => OUTSIDE,
                (None, false) => REPORTED,
                (None, true) => DONE,
            })
        }
    }
}

/// What is worth a word of a delivery, beside what was delivered.
pub(crate) fn say(done: &Delivered, context: &Context) {
    for why in &done.aside {
        complain(&format!(
            "a report is kept aside: {why}; when that is mended: coroner report deliver --again"
        ));
    }
    if let Some(why) = &done.later {
        complain(&format!("what waits is delivered later: {why}"));
    }
    if done.elsewhere > 0 {
        let waits = counted(done.elsewhere, "report waits", "reports wait");
        context.note(&format!("{waits} for another desk: coroner report list"));
    }
}

fn list(context: &Context) -> Result<u8, Failed> {
    let spool = spool(context);
    let all = spool.list();
    let aside = all.iter().any(|it| it.aside.is_some());
    match context.format {
        Format::Json => context.print_json(&all)?,
        Format::Text => {
            let unicode = context.out().unicode;
            let lines: String = all.iter().map(|it| printable(&line(it), unicode) + "\n").collect();
            let folder = spool.folder().display();
            let waits = counted(all.len() as u64, "report", "reports");
            context.print(&format!("{lines}{waits} in {folder}\n"))?;
        }
    }
    Ok(if aside { REPORTED } else { DONE })
}

fn line(it: &Waiting) -> String {
    let unknown = || "?".to_owned();
    let state = match (&it.aside, it.busy, it.ended_at) {
        (Some(why), ..) => format!("kept aside: {why}"),
        (None, true, None) => "still runs".to_owned(),
        (None, true, Some(_)) => "is being delivered".to_owned(),
        (None, false, None) => "waits; its end was not seen".to_owned(),
        (None, false, Some(_)) => "waits".to_owned(),
    };
    let started = it.started_at.map_or_else(unknown, |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let id = it.experiment_id.clone().unwrap_or_else(|| it.path.display().to_string());
    let desk = it.desk.clone().unwrap_or_else(unknown);
    format!("{started}  {id}  {}  for {desk}  {state}", bytes(it.bytes))
}

/// The folder of what waits.
pub(crate) fn spool(context: &Context) -> Spool {
    let config = &context.config;
    let folder = config.report_spool.clone().unwrap_or_else(|| {
        context.env.data_home().unwrap_or_else(|| PathBuf::from(".")).join("coroner/spool")
    });
    Spool::new(folder, config.report_spool_limit)
}

/// The desk that is reported to, if one is.
pub(crate) fn desk(context: &Context, given: Option<&str>) -> Result<Option<Desk>, Failed> {
    let Some(url) = given.or(context.config.report.as_deref()) else { return Ok(None) };
    let token = token(context).unwrap_or_else(|why| {
        // it is no reason to run nothing: what a desk refuses for it is kept aside
        complain(&why);
        None
    });
    let desk = Desk::new(url, token).map_err(anyhow::Error::from)?;
    if let Some(warning) = desk.warning() {
        context.note(&warning);
    }
    Ok(Some(desk))
}

fn token(context: &Context) -> Result<Option<SecretString>, String> {
    let text = match (context.env.text("CORONER_TOKEN"), &context.config.report_token_file) {
        (Some(token), _) => token.to_owned(),
        (None, None) => return Ok(None),
        (None, Some(path)) => {
            let unreadable = |why: String| {
                format!("nothing is reported with a token: the file {} can't be read ({why})", path.display())
            };
            let data = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
            if !data.is_file() || data.len() > LONGEST_TOKEN {
                return Err(unreadable("it is no file of at most 16 KiB".to_owned()));
            }
            std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?
        }
    };
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "nothing is reported with a token: what is given as one has spaces or special characters"
                .to_owned(),
        );
    }
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

/// What waits and why, for doctor: the number that waits, and of those kept aside.
pub(crate) fn waiting(context: &Context) -> (usize, usize) {
    let all = spool(context).list();
    let aside = all.iter().filter(|it| it.aside.is_some()).count();
    (all.iter().filter(|it| it.aside.is_none() && !it.busy).count(), aside)
}

/// Why a report waits, in a line.
pub(crate) fn later(why: &NotTaken, spool: &Spool) -> String {
    format!("this run is reported later: {why}; until then it waits in {}", spool.folder().display())
}
