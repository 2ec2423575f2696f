//! A raw line as a person reads it: without escape codes, CI time stamps and rank prefixes. Numbers and the raw
//! text are kept elsewhere; what is made here is only matched against, never cited.

use std::borrow::Cow;

/// The line without what tools put around it.
#[must_use]
pub(crate) fn clean(raw: &str) -> Cow<'_, str> {
    let text = without_escapes(raw);
    match text {
        Cow::Borrowed(t) => Cow::Borrowed(without_prefixes(t).trim_end()),
        Cow::Owned(t) => Cow::Owned(without_prefixes(&t).trim_end().to_owned()),
    }
}

/// ANSI escape sequences (CSI, OSC, two-byte ones) and the other C0 controls but TAB taken out.
pub(crate) fn without_escapes(raw: &str) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    if !bytes.iter().any(|b| *b < 0x20 && *b != b'\t') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        match c {
            '\u{1b}' => match chars.peek().map(|p| p.1) {
                Some('[') => {
                    chars.next();
                    // parameters and intermediates up to the final byte (ECMA-48 5.4)
                    while let Some((_, c)) = chars.next_if(|(_, c)| !('@'..='~').contains(c)) {
                        if c.is_control() {
                            break;
                        }
                    }
                    chars.next_if(|(_, c)| ('@'..='~').contains(c));
                }
                Some(']') => {
                    while let Some((_, c)) = chars.next() {
                        if c == '\u{7}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next_if(|(_, c)| *c == '\\');
                            break;
                        }
                    }
                }
                Some(_) => {
                    chars.next();
                }
                None => {}
            },
            '\t' => out.push(c),
            c if (c as u32) < 0x20 => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn without_prefixes(mut text: &str) -> &str {
    text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // at most four in a row: "2024-05-01T10:00:00.1234567Z [rank0]: ..."
    for _ in 0..4 {
        let Some(rest) = time_stamp(text).or_else(|| rank(text)).or_else(|| compose(text)) else { break };
        text = rest;
    }
    text
}

/// ISO-like time stamps at the head of a line: GitHub, GitLab, Jenkins `[...]`, Python logging, journald ISO.
fn time_stamp(text: &str) -> Option<&str> {
    let (body, bracket) = match text.strip_prefix('[') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let b = body.as_bytes();
    // the cheap test first: nearly every line fails here
    if b.len() < 8 || !b[0].is_ascii_digit() || !b[1].is_ascii_digit() {
        return None;
    }
    let digits =
        |from: usize, n: usize| b.len() >= from + n && b[from..from + n].iter().all(u8::is_ascii_digit);
    let at = |i: usize, c: &[u8]| b.get(i).is_some_and(|x| c.contains(x));
    let mut i = 0;
    if digits(0, 4) && at(4, b"-/") && digits(5, 2) && at(7, b"-/") && digits(8, 2) && at(10, b"T ") {
        i = 11;
    }
    if !(digits(i, 2) && at(i + 2, b":") && digits(i + 3, 2) && at(i + 5, b":") && digits(i + 6, 2)) {
        return None;
    }
    i += 8;
    if at(i, b".,") && digits(i + 1, 1) {
        i += 1;
        while digits(i, 1) {
            i += 1;
        }
    }
    if at(i, b"Z") {
        i += 1;
    } else if at(i, b"+-") && digits(i + 1, 2) {
        i += 3;
        while at(i, b":") || digits(i, 1) {
            i += 1;
        }
    }
    if bracket {
        if !at(i, b"]") {
            return None;
        }
        i += 1;
    }
    // GitLab's stream markers ("00O ", "01E+")
    if digits(i + 1, 2) && at(i, b" ") && at(i + 3, b"OE") && at(i + 4, b" +") {
        i += 4;
    }
    if i == b.len() {
        return Some(&body[i..]);
    }
    // one blank belongs to the stamp, indentation after it to the line
    at(i, b" \t").then(|| &body[i + 1..])
}

/// `[rank3]: `, `[default3]:`, `[1,3]<stderr>:`, `3: ` (torchrun, srun --label, mpirun --tag-output).
fn rank(text: &str) -> Option<&str> {
    let rest = if let Some(inner) = text.strip_prefix('[') {
        let (head, tail) = inner.split_once(']')?;
        let number = head.strip_prefix("rank").or_else(|| head.strip_prefix("default")).unwrap_or(head);
        let tagged = tail.starts_with("<std");
        if head.len() > 12 || number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit() || c == b',') {
            return None;
        }
        if number == head && !tagged {
            return None;
        }
        tail.strip_prefix("<stderr>")
            .or_else(|| tail.strip_prefix("<stdout>"))
            .unwrap_or(tail)
            .strip_prefix(':')?
    } else {
        let end = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
        if end == 0 || !text[end..].starts_with(": ") {
            return None;
        }
        &text[end + 1..]
    };
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

/// docker compose's `service-1  | `.
fn compose(text: &str) -> Option<&str> {
    let (head, rest) =
        text.get(..text.len().min(40)).and_then(|h| h.find(" | ")).map(|i| text.split_at(i))?;
    let name = head.trim_end();
    let service = name.rsplit_once(['-', '_']).is_some_and(|(n, d)| {
        !n.is_empty() && !d.is_empty() && d.bytes().all(|c| c.is_ascii_digit()) && !n.contains(' ')
    });
    service.then(|| &rest[3..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_off_what_tools_put_around() {
        let cases = [
            ("2023-06-15T15:18:34.6965425Z     java.lang.Error", "    java.lang.Error"),
            ("[2024-01-02T03:04:05.678Z] make: *** [all] Error 2", "make: *** [all] Error 2"),
            ("2024-01-02 03:04:05,678 - root - ERROR - no", "- root - ERROR - no"),
            ("12:34:56 FAILED", "FAILED"),
            ("2024-01-02T03:04:05.000000Z 01E error: x", "error: x"),
            ("[rank3]: Traceback (most recent call last):", "Traceback (most recent call last):"),
            ("[rank0]:   File \"a.py\", line 1", "  File \"a.py\", line 1"),
            ("[1,2]<stderr>:Segmentation fault", "Segmentation fault"),
            ("3: RuntimeError: x", "RuntimeError: x"),
            ("web-1  | panic: x", "panic: x"),
            ("[1] not a rank: x", "[1] not a rank: x"),
            ("\u{1b}[31;1mERROR\u{1b}[0m: \u{1b}]0;title\u{7}x\u{8}", "ERROR: x"),
            ("\u{1b}[", ""),
            ("10: 20: x", "x"),
            ("a | b", "a | b"),
            ("12:34 left", "12:34 left"),
        ];
        for (raw, want) in cases {
            assert_eq!(clean(raw), want, "{raw:?}");
        }
    }
}
