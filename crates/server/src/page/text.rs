//! Text from outside on a page: never markup, and nothing in it that hides or turns around other text.

use std::borrow::Cow;

/// Does a reader not see this character, or see others in another order because of it?
pub(super) fn hides(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What is shown in its place.
pub(super) fn shown(c: char) -> Cow<'static, str> {
    match c {
        '\0'..='\x1f' => Cow::Owned(char::from_u32(0x2400 + c as u32).unwrap_or('?').to_string()),
        '\x7f' => Cow::Borrowed("\u{2421}"),
        _ => Cow::Owned(format!("⟨U+{:04X}⟩", c as u32)),
    }
}

/// Bytes with which a character that hides may begin: a page has few of them, so the others are passed over quickly.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = byte != b'\t' as usize && byte != b'\n' as usize && byte != b'\r' as usize;
        byte += 1;
    }
    table[0x7f] = true;
    table[0xc2] = true;
    table[0xd8] = true;
    table[0xe2] = true;
    table[0xef] = true;
    table[0xf3] = true;
    table
};

/// Where the first character stands that hides.
fn first_hidden(page: &str) -> Option<usize> {
    let is_plain = |byte: u8| byte.wrapping_sub(0x20) < 0x5f || byte == b'\n';
    for (n, piece) in page.as_bytes().chunks(64).enumerate() {
        // nearly all of a page is plain, which the processor sees of a whole piece at once
        if piece.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
            continue;
        }
        for (at, _) in piece.iter().enumerate().filter(|(_, byte)| SUSPECT[usize::from(**byte)]) {
            let at = n * 64 + at;
            if page.get(at..).and_then(|rest| rest.chars().next()).is_some_and(hides) {
                return Some(at);
            }
        }
    }
    None
}

/// A whole page, with whatever hides made visible: done once, at the end, so that no field can be forgotten. Our own
/// templates hold no such character.
pub(crate) fn made_visible(page: String) -> String {
    if first_hidden(&page).is_none() {
        return page;
    }
    let mut out = String::with_capacity(page.len() + 64);
    for c in page.chars() {
        match hides(c) {
            true => out.push_str(&shown(c)),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_hides_is_a_suspect() {
        for c in ('\0'..=char::MAX).filter(|c| hides(*c)) {
            assert_eq!(first_hidden(&format!("–a{c}b")), Some(4), "{c:?}");
        }
    }

    #[test]
    fn nothing_hides() {
        assert_eq!(made_visible("a\tb\n".into()), "a\tb\n");
        assert_eq!(made_visible("a\u{202e}b\0\x1b[m".into()), "a⟨U+202E⟩b␀␛[m");
        assert_eq!(made_visible("日本 é 👩‍🔬".into()), "日本 é 👩‍🔬");
    }
}
