//! Where a program was when its time was up: Python's faulthandler prints the frames of every thread, the innermost first.

use crate::capture::{Capture, End};

/// A frame of such a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hang {
    /// The piece of the log that it stands in.
    pub(crate) piece: usize,
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) function: String,
}

/// The innermost frame of the candidate's own code, or else the innermost of all, if time ended it and it was dumped.
pub(crate) fn hang(capture: &Capture) -> Option<Hang> {
    let end = &capture.exit.as_ref()?.end;
    if !matches!(end, End::TimedOut { .. } | End::CpuLimit { .. }) {
        return None;
    }
    let log = &capture.log;
    // the last dump: an earlier one was survived
    let start =
        (0..log.len()).rev().find(|i| log.clean(*i).trim_end().ends_with("(most recent call first):"))?;
    let frames: Vec<Hang> = (start + 1..log.len())
        .map_while(|piece| frame(log.clean(piece)).map(|f| Hang { piece, ..f }))
        .collect();
    let own = capture.code.as_ref().and_then(|code| code.name.as_deref()).map(base);
    let of_candidate = frames.iter().find(|frame| Some(base(&frame.file)) == own);
    of_candidate.or(frames.first()).cloned()
}

fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// `  File "candidate.py", line 3 in g`
fn frame(text: &str) -> Option<Hang> {
    let rest = text.trim().strip_prefix("File \"")?;
    let (file, rest) = rest.split_once("\", line ")?;
    let (line, function) = rest.split_once(" in ")?;
    Some(Hang { piece: 0, file: file.to_owned(), line: line.parse().ok()?, function: function.to_owned() })
}

impl std::fmt::Display for Hang {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", base(&self.file), self.line)?;
        if self.function.starts_with('<') { Ok(()) } else { write!(f, " in {}", self.function) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Code, Exit, Log};

    #[test]
    fn the_candidates_own_innermost_frame_is_where_it_hung() {
        let dump = "working\nTimeout (0:00:01.5)!\nThread 0x00007f (most recent call first):\n  File \"/usr/lib/numpy/x.py\", line 9 in solve\n  File \"candidate.py\", line 3 in g\n  File \"candidate.py\", line 5 in f\n  File \"/coroner/driver.py\", line 309 in main\n";
        let capture = |end| Capture {
            log: Log::new(dump.as_bytes()),
            code: Some(Code { name: Some("candidate.py".into()), text: String::new() }),
            exit: Some(Exit { end, wall: Duration::from_secs(2), cpu: None, peak_memory: None }),
            ..Capture::default()
        };
        let limit = Duration::from_secs(2);
        let found = hang(&capture(End::TimedOut { limit })).unwrap();
        assert_eq!((found.to_string().as_str(), found.piece), ("candidate.py:3 in g", 4));
        assert!(hang(&capture(End::CpuLimit { limit })).is_some());
        assert_eq!(hang(&capture(End::Exited { code: 1 })), None);
        let other = Capture { code: None, ..capture(End::TimedOut { limit }) };
        assert_eq!(hang(&other).unwrap().to_string(), "x.py:9 in solve");
    }
}
