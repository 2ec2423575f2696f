//! Reads what is to be looked at: a log of any size from a file or standard input, a source file, a baseline.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use coroner_diagnosis::{Capture, Code, Log, LogReader};
use indicatif::ProgressBar;

use crate::args::FailureArgs;
use crate::context::{Context, Failed};

/// Read at a time.
const CHUNK: usize = 256 << 10;
/// Progress is worth showing from here on.
const LARGE: u64 = 128 << 20;
/// A source file larger than this is none.
const LARGEST_CODE: u64 = 4 << 20;

/// A log as it was looked at, to be read once more.
pub(crate) type Again = io::Take<File>;

/// What the arguments name and, if wanted, its log once more.
pub(crate) fn capture(
    context: &Context,
    args: &FailureArgs,
    again: bool,
) -> Result<(Capture, Option<Again>), Failed> {
    if args.log.is_none() && args.error.is_none() {
        return Err(Failed::Input(anyhow!(
            "nothing to look at: name a log, or `-` for standard input, or give --error TEXT"
        )));
    }
    let (log, again) = match &args.log {
        Some(path) => log_and_again(context, path, again)?,
        None => (Log::default(), None),
    };
    let baselines = args.baseline.iter().map(|path| self::log(context, path)).collect::<Result<_, _>>()?;
    let code = args.code.as_deref().map(code).transpose()?;
    Ok((Capture { error_message: args.error.clone(), code, log, baselines, ..Capture::default() }, again))
}

/// A log from a file, or from standard input where the path is `-`.
pub(crate) fn log(context: &Context, path: &Path) -> anyhow::Result<Log> {
    Ok(log_and_again(context, path, false)?.0)
}

fn log_and_again(context: &Context, path: &Path, again: bool) -> anyhow::Result<(Log, Option<Again>)> {
    if path == Path::new("-") {
        return passing(io::stdin().lock(), again).context("can't read standard input");
    }
    let name = path.display();
    let file = File::open(path).with_context(|| format!("can't read the log {name}"))?;
    let meta = file.metadata().with_context(|| format!("can't read the log {name}"))?;
    if meta.is_dir() {
        bail!("{name} is a folder, not a log: name a file in it");
    }
    if !meta.is_file() {
        return passing(file, again).with_context(|| format!("can't read the log {name}"));
    }
    // as long as it was when it was opened: a log that grows while it is read would never end
    let length = meta.len();
    let bar = (length >= LARGE)
        .then(|| context.progress(Some(length), "reading {bytes} of {total_bytes} ({percent} %)"));
    let log =
        read((&file).take(length), bar.as_ref()).with_context(|| format!("can't read the log {name}"))?;
    if let Ok(now) = std::fs::metadata(path)
        && now.len() > length
    {
        context.note(&format!(
            "{name} grew while it was read; what came after its first {length} bytes is not looked at"
        ));
    }
    let again = again.then(|| rewound(file, length)).transpose();
    Ok((log, again.with_context(|| format!("can't read the log {name} once more"))?))
}

/// A log that comes only once, as from a pipe: to be had again it is copied as it comes.
fn passing(mut from: impl Read, again: bool) -> anyhow::Result<(Log, Option<Again>)> {
    if !again {
        return Ok((read(from, None)?, None));
    }
    let mut copy = tempfile::tempfile().context("can't make a temporary file")?;
    let log = read(Copying { from: &mut from, to: &mut copy }, None)?;
    let length = copy.stream_position()?;
    Ok((log, Some(rewound(copy, length)?)))
}

fn rewound(mut file: File, length: u64) -> io::Result<Again> {
    file.rewind()?;
    Ok(file.take(length))
}

/// Copies what is read.
struct Copying<'a, R> {
    from: &'a mut R,
    to: &'a mut File,
}

impl<R: Read> Read for Copying<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.to.write_all(&buffer[..n])?;
        Ok(n)
    }
}

fn read(mut from: impl Read, bar: Option<&ProgressBar>) -> anyhow::Result<Log> {
    let mut reader = LogReader::new();
    let mut buffer = vec![0; CHUNK];
    let mut first = true;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        if first && let Some(kind) = binary(&buffer[..n]) {
            bail!("it is {kind}, not a log");
        }
        first = false;
        reader.push(&buffer[..n]);
        if let Some(bar) = bar {
            bar.inc(n as u64);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(reader.finish())
}

/// What the beginning of a file says it is, where it is no text. A log may hold NULs and broken characters.
fn binary(head: &[u8]) -> Option<&'static str> {
    const MAGIC: &[(&[u8], &str)] = &[
        (b"\x1f\x8b", "compressed (unpack it with gunzip, or pipe `zcat FILE` into `coroner analyze -`)"),
        (
            b"\x28\xb5\x2f\xfd",
            "compressed (unpack it with unzstd, or pipe `zstdcat FILE` into `coroner analyze -`)",
        ),
        (b"\xfd7zXZ", "compressed (unpack it with unxz, or pipe `xzcat FILE` into `coroner analyze -`)"),
        (b"BZh", "compressed (unpack it with bunzip2, or pipe `bzcat FILE` into `coroner analyze -`)"),
        (b"PK\x03\x04", "a zip archive (unpack it first)"),
        (b"\x7fELF", "a program"),
        (b"\x89PNG", "a picture"),
        (b"\xff\xd8\xff", "a picture"),
        (b"%PDF", "a PDF document"),
        (b"SQLite format 3", "a database"),
        (b"\xff\xfe", "UTF-16 (pipe `iconv -f UTF-16 -t UTF-8 FILE` into `coroner analyze -`)"),
        (b"\xfe\xff", "UTF-16 (pipe `iconv -f UTF-16 -t UTF-8 FILE` into `coroner analyze -`)"),
    ];
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(kind);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("an archive (unpack it with tar)");
    }
    // a log that was cut to nothing while its writer went on begins with NULs, and may be nothing else
    let start = head.iter().position(|b| *b != 0).unwrap_or(head.len());
    let head = &head[start..];
    let head = &head[..head.len().min(8 << 10)];
    let odd = head
        .iter()
        .filter(|b| **b == 0 || (**b < 0x20 && !b"\t\n\r\x0b\x0c\x1b\x07\x08".contains(*b)))
        .count();
    (head.len() >= 64 && odd * 10 > head.len() * 3).then_some("a binary file")
}

fn code(path: &Path) -> anyhow::Result<Code> {
    let name = path.display();
    let meta = std::fs::metadata(path).with_context(|| format!("can't read the code {name}"))?;
    if meta.is_dir() {
        bail!("{name} is a folder: --code takes the source file of the candidate");
    }
    if meta.len() > LARGEST_CODE {
        bail!("{name} has {} bytes: --code takes the source file of the candidate", meta.len());
    }
    let bytes = std::fs::read(path).with_context(|| format!("can't read the code {name}"))?;
    Ok(Code { name: Some(path.display().to_string()), text: String::from_utf8_lossy(&bytes).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_from_other_files() {
        assert!(binary(b"\x1f\x8b\x08 and so on").is_some_and(|k| k.contains("gunzip")));
        assert!(binary(&[1, 0, 0, 2].repeat(100)).is_some());
        assert_eq!(binary(&[0; 100]), None);
        assert_eq!(binary(&[&[0; 9000][..], b"Traceback (most recent call last):\n"].concat()), None);
        assert_eq!(binary(b"plain\n"), None);
        assert_eq!(binary(b"a NUL\0 in a line and \x1b[31mcolour\x1b[0m and \xff\xfe broken characters are no reason at all\n"), None);
    }
}
