//! Text from outside made safe to show: nothing in it can move the cursor, set a title, hide or reorder anything.

use unicode_width::UnicodeWidthChar;

/// More marks than this on one letter are an attack on the lines above and below.
const MARKS: usize = 3;

/// `text` on one line: escape sequences taken out, what else controls a terminal or the order of reading shown as a
/// sign, and in ASCII where that is all that can be shown.
pub(crate) fn printable(text: &str, unicode: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches(['\n', '\r']);
    let mut marks = 0;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = escape_sequence(rest) {
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        match c {
            '\t' => out.push_str("    "),
            '\n' => out.push(' '),
            '\0'..='\x1f' | '\x7f' => out.push_str(&control(c, unicode)),
            _ if is_deceptive(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
            _ if marks > MARKS => {}
            ' '..='~' => out.push(c),
            _ if unicode => out.push(c),
            _ => out.push_str(in_ascii(c)),
        }
    }
    out
}

/// The same for a text of several lines.
pub(crate) fn printable_lines(text: &str, unicode: bool) -> String {
    text.lines().map(|line| printable(line, unicode) + "\n").collect()
}

/// JSON that can be shown: what could deceive a terminal or a reader is written as an escape, which means the same.
pub(crate) fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\x7f' || is_deceptive(c) {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// The length of a whole escape sequence at the start of `text`. One that does not end is none, so that it can't
/// hide what follows it.
fn escape_sequence(text: &str) -> Option<usize> {
    let (introducer, rest) = match text.strip_prefix('\x1b') {
        Some(rest) => (rest.chars().next()?, &rest[rest.chars().next()?.len_utf8()..]),
        None => match text.chars().next()? {
            '\u{9b}' => ('[', &text['\u{9b}'.len_utf8()..]),
            '\u{9d}' => (']', &text['\u{9d}'.len_utf8()..]),
            '\u{90}' => ('P', &text['\u{90}'.len_utf8()..]),
            _ => return None,
        },
    };
    let start = text.len() - rest.len();
    match introducer {
        // CSI: parameters, intermediates, one final
        '[' => {
            let end = rest.find(|c| !matches!(c, ' '..='?'))?;
            matches!(rest[end..].chars().next()?, '@'..='~').then_some(start + end + 1)
        }
        // OSC, DCS, SOS, PM, APC: up to BEL or ST, and never over a line
        ']' | 'P' | 'X' | '^' | '_' => {
            let end = rest.find(['\x07', '\x1b', '\u{9c}', '\n'])?;
            let length = match &rest[end..] {
                tail if tail.starts_with('\x07') => 1,
                tail if tail.starts_with("\x1b\\") => 2,
                tail if tail.starts_with('\u{9c}') => 2,
                _ => return None,
            };
            Some(start + end + length)
        }
        // the rest: intermediates, one final
        ' '..='/' => {
            let end = rest.find(|c| !matches!(c, ' '..='/'))?;
            matches!(rest[end..].chars().next()?, '0'..='~').then_some(start + end + 1)
        }
        '0'..='~' => Some(start),
        _ => None,
    }
}

/// A picture of a control character: "␛", or "^[" in ASCII.
fn control(c: char, unicode: bool) -> String {
    let code = u32::from(c);
    if unicode {
        let picture = if c == '\x7f' { Some('\u{2421}') } else { char::from_u32(0x2400 + code) };
        return picture.unwrap_or('\u{fffd}').to_string();
    }
    format!("^{}", char::from_u32(code ^ 0x40).unwrap_or('?'))
}

/// Invisible, or changes how its neighbours are read: C1 controls, bidirectional overrides, joiners, tags.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// What stands for a character where only ASCII can be shown.
fn in_ascii(c: char) -> &'static str {
    match c {
        '‘' | '’' | '‚' | '′' => "'",
        '“' | '”' | '„' | '″' | '«' | '»' => "\"",
        '–' | '—' | '−' | '‐' | '‑' | '─' | '━' => "-",
        '…' => "...",
        '→' | '➜' | '⇒' => "->",
        '←' => "<-",
        '×' => "x",
        '·' | '•' | '●' => "*",
        '│' | '┃' | '║' => "|",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        'µ' | 'μ' => "u",
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' => " ",
        _ if c.width() == Some(0) => "",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_codes_go_and_text_stays() {
        for (text, expected) in [
            ("\x1b[31mE\x1b[0m: \x1b[1;38;5;208mboom\x1b[m", "E: boom"),
            ("a\tb\r\n", "a    b"),
            ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x07", "link"),
            ("\x1b(Bplain\x1b=", "plain"),
            ("naïve – 日本", "naïve – 日本"),
        ] {
            assert_eq!(printable(text, true), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        let hostile = [
            "\x1b]0;owned\x07after",
            "\x1b]0;never ends, hides this",
            "\x1b]0;two\nlines\x07",
            "\x1b[2J\x1b[Htop left",
            "\u{9b}2Jcleared\u{9d}0;title\u{9c}",
            "50%\rdone",
            "bell\x07 back\x08\x08space del\x7f nul\0",
            "\x1bP1$rdcs\x1b\\ \x1b_apc\x1b\\ \x1b^pm\x1b\\",
            "safe\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}",
            "in\u{200b}vis\u{feff}ible\u{e0041}tag\u{ad}",
            "line\u{2028}sep\u{85}nel",
            "\x1b\x1b[31m\x1b",
            "\x1b[999999999999999;31",
        ];
        for text in hostile {
            for unicode in [true, false] {
                let shown = printable(text, unicode);
                let bad = |c: char| c.is_control() || is_deceptive(c) || (!unicode && !c.is_ascii());
                assert!(!shown.contains(bad), "{text:?} -> {shown:?}");
                assert!(!shown.contains("owned") && !shown.contains("title"), "{shown}");
            }
        }
        assert_eq!(printable("\x1b]0;never ends, hides this", true), "␛]0;never ends, hides this");
        assert_eq!(printable("50%\rdone", false), "50%^Mdone");
        assert_eq!(printable("safe\u{202e}gnp", true), "safe<U+202E>gnp");
    }

    #[test]
    fn json_means_the_same_and_deceives_nobody() {
        let text = "a\u{9b}31m \u{202e}x \u{e0041} \x7f \x1b é 日 \u{1f600}";
        let shown = printable_json(&serde_json::to_string(text).unwrap());
        assert!(!shown.contains(|c: char| c.is_control() || is_deceptive(c)), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        assert!(shown.contains("é 日"), "{shown}");
    }

    #[test]
    fn marks_can_not_pile_up() {
        let zalgo = format!("e{}x", "\u{301}".repeat(500));
        assert_eq!(printable(&zalgo, true).chars().count(), 2 + MARKS);
        assert_eq!(printable(&zalgo, false), "ex");
    }

    #[test]
    fn ascii_keeps_what_it_can() {
        assert_eq!(printable("batch 32 → 16 … “x” – 日", false), "batch 32 -> 16 ... \"x\" - ?");
    }
}
