//! A line of a log as markup: colours as classes of a closed set, everything else as plain text.

use super::parts::escaped;
use super::text::{hides, shown};

/// What the terminal would have been told to look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    struck: bool,
    inverse: bool,
    /// 0..=7
    colour: Option<u8>,
    ground: Option<u8>,
}

impl Look {
    /// One parameter list of `ESC [ ... m`.
    fn apply(&mut self, parameters: &str) {
        let mut numbers =
            parameters.split([';', ':']).map(|n| if n.is_empty() { Some(0) } else { n.parse().ok() });
        while let Some(number) = numbers.next() {
            match number {
                Some(0) => *self = Self::default(),
                Some(1) => self.bold = true,
                Some(2) => self.dim = true,
                Some(3) => self.italic = true,
                Some(4) => self.underline = true,
                Some(7) => self.inverse = true,
                Some(9) => self.struck = true,
                Some(22) => (self.bold, self.dim) = (false, false),
                Some(23) => self.italic = false,
                Some(24) => self.underline = false,
                Some(27) => self.inverse = false,
                Some(29) => self.struck = false,
                Some(n @ 30..=37) => self.colour = Some((n - 30) as u8),
                Some(n @ 90..=97) => self.colour = Some((n - 90) as u8),
                Some(n @ 40..=47) => self.ground = Some((n - 40) as u8),
                Some(n @ 100..=107) => self.ground = Some((n - 100) as u8),
                Some(38) => self.colour = extended(&mut numbers),
                Some(48) => self.ground = extended(&mut numbers),
                Some(39) => self.colour = None,
                Some(49) => self.ground = None,
                _ => {}
            }
        }
    }

    fn classes(self) -> String {
        let mut classes: Vec<&str> = Vec::new();
        let flags = [
            (self.bold, "b"),
            (self.dim, "d"),
            (self.italic, "i"),
            (self.underline, "u"),
            (self.struck, "s"),
            (self.inverse, "v"),
        ];
        classes.extend(flags.iter().filter(|(on, _)| *on).map(|(_, class)| *class));
        const COLOURS: [&str; 8] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"];
        const GROUNDS: [&str; 8] = ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"];
        classes.extend(self.colour.and_then(|n| COLOURS.get(usize::from(n))));
        classes.extend(self.ground.and_then(|n| GROUNDS.get(usize::from(n))));
        classes.join(" ")
    }
}

/// `5;N` and `2;R;G;B`, as the nearest of the eight.
fn extended(numbers: &mut impl Iterator<Item = Option<u32>>) -> Option<u8> {
    let channel = |level: u32| level >= 96;
    match numbers.next()?? {
        5 => match numbers.next()?? {
            n @ 0..=15 => Some((n % 8) as u8),
            n @ 16..=231 => {
                let n = n - 16;
                let bit = |level: u32| u8::from(level >= 2);
                Some(bit(n / 36) | bit(n / 6 % 6) << 1 | bit(n % 6) << 2)
            }
            n @ 232..=255 => Some(if n < 244 { 0 } else { 7 }),
            _ => None,
        },
        2 => {
            let (r, g, b) = (numbers.next()??, numbers.next()??, numbers.next()??);
            Some(u8::from(channel(r)) | u8::from(channel(g)) << 1 | u8::from(channel(b)) << 2)
        }
        _ => None,
    }
}

/// The line as markup. At most `most` characters of it; how many were left out is said.
pub(super) fn line(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut look = Look::default();
    let mut run = String::new();
    let mut left = most;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\u{1b}' {
            let (length, parameters) = escape_sequence(rest);
            if let Some(parameters) = parameters {
                flush(&mut out, &mut run, look);
                look.apply(parameters);
            }
            rest = &rest[length..];
            continue;
        }
        if left == 0 {
            break;
        }
        left -= 1;
        rest = &rest[c.len_utf8()..];
        if c == '\r' || (hides(c) && c != '\t') {
            flush(&mut out, &mut run, look);
            let sign = if c == '\r' { "␍".into() } else { shown(c) };
            out.push_str(&format!(r#"<span class="x">{sign}</span>"#));
        } else {
            run.push(c);
        }
    }
    flush(&mut out, &mut run, look);
    if !rest.is_empty() {
        out.push_str(&format!(r#"<span class="x"> … {} bytes more</span>"#, rest.len()));
    }
    out
}

fn flush(out: &mut String, run: &mut String, look: Look) {
    if run.is_empty() {
        return;
    }
    match look == Look::default() {
        true => out.push_str(&escaped(run)),
        false => out.push_str(&format!(r#"<span class="{}">{}</span>"#, look.classes(), escaped(run))),
    }
    run.clear();
}

/// How long the sequence is that begins here, and its parameters if it speaks of looks.
fn escape_sequence(text: &str) -> (usize, Option<&str>) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'[') => {
            let end = bytes.iter().skip(2).position(|b| !(0x20..=0x3f).contains(b)).map(|at| at + 2);
            match end {
                Some(end) if (0x40..=0x7e).contains(&bytes[end]) => {
                    let parameters = &text[2..end];
                    let of_looks = bytes[end] == b'm'
                        && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':');
                    (end + 1, of_looks.then_some(parameters))
                }
                Some(end) => (end, None),
                None => (text.len(), None),
            }
        }
        // titles, links: up to BEL or ESC \
        Some(b']' | b'P' | b'_' | b'^') => {
            let end = bytes.iter().skip(2).position(|b| *b == 0x07 || *b == 0x1b).map(|at| at + 2);
            match end {
                Some(end) if bytes[end] == 0x1b && bytes.get(end + 1) == Some(&b'\\') => (end + 2, None),
                Some(end) if bytes[end] == 0x07 => (end + 1, None),
                Some(end) => (end, None),
                None => (text.len(), None),
            }
        }
        Some(b) if b.is_ascii() && !b.is_ascii_control() => (2, None),
        _ => (1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes() {
        assert_eq!(line("\x1b[1;31mERROR\x1b[0m: no", 99), r#"<span class="b f1">ERROR</span>: no"#);
        assert_eq!(line("\x1b[38;5;196mred\x1b[m", 99), r#"<span class="f1">red</span>"#);
        assert_eq!(line("\x1b[38;2;0;200;200mcyan", 99), r#"<span class="f6">cyan</span>"#);
        assert_eq!(line("\x1b[2K\x1b[1Ga\x1b]8;;http://x\x07b\x1b(Bc", 99), "abBc");
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            line("<script>alert('x')</script>", 99),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
        );
        assert_eq!(line("\x1b[31m<b>\"", 99), r#"<span class="f1">&lt;b&gt;&quot;</span>"#);
        assert_eq!(line("a\u{202e}b", 99), r#"a<span class="x">⟨U+202E⟩</span>b"#);
        assert_eq!(line("10%\r20%", 99), r#"10%<span class="x">␍</span>20%"#);
        assert_eq!(line("abcdef", 3), r#"abc<span class="x"> … 3 bytes more</span>"#);
        for broken in ["\x1b", "\x1b[", "\x1b[31", "\x1b]0;title", "\x1b[31é", "\x1bé", "\x1b[99999999999m"]
        {
            let shown = line(broken, 99);
            assert!(!shown.contains('\x1b'), "{shown:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn only_our_own_tags(text in "(\\PC|\\x1b|\\[|[0-9;m]|<|>|\"){0,60}") {
            let shown = line(&text, 50);
            let without = regex::Regex::new(r#"<span class="[a-z0-9 ]+">|</span>"#).unwrap().replace_all(&shown, "");
            proptest::prop_assert!(!without.contains(['<', '>', '"', '\x1b']), "{:?}", shown);
        }
    }
}
