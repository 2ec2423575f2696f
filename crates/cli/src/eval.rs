//! `coroner eval`: scores the rules that are in force on a labelled corpus. A development instrument that ships.

mod corpus;
mod report;
mod score;

use crate::analyst::{Analyst, runtime};
use crate::args::{EvalArgs, Format};
use crate::context::{Context, DONE, Failed};

/// Judges every case and prints the figures.
pub(crate) fn eval(context: &Context, args: &EvalArgs) -> Result<u8, Failed> {
    let analyst = Analyst::new(context, !args.model, None, runtime()?)?;
    let mut scores = score::Scores::default();
    for path in &args.corpus {
        let corpus = corpus::Corpus::open(path)?;
        let cases = corpus.lines.len() + corpus.labels.len() + corpus.seeds.len();
        let bar = context.progress(Some(cases as u64), "{bar:40} {human_pos} of {human_len} cases");
        let more = score::score(&corpus, &analyst, args.baselines, &|| bar.inc(1))?;
        bar.finish_and_clear();
        scores.lines.extend(more.lines);
        scores.labels.extend(more.labels);
    }
    scores.keep_projects(args.projects.as_deref());
    let figures = report::Figures::new(&scores);
    match context.format {
        Format::Json => {
            let value = serde_json::json!({"figures": figures, "cases": scores});
            context.print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&value).map_err(anyhow::Error::from)?
            ))?;
        }
        Format::Text => {
            context.print(&figures.text())?;
            if args.worst > 0 {
                context.print(&report::worst(&scores, args.worst))?;
            }
        }
    }
    Ok(DONE)
}
