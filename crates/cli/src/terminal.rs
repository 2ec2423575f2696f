//! What the place that we write to can show: how wide it is, whether it knows Unicode and colour.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::Style;
use clap::ColorChoice;

use crate::environment::Environment;

/// Where there is no terminal, text is wrapped at this width.
const WIDTH_ELSEWHERE: usize = 100;
/// A terminal that does not say how wide it is.
const WIDTH_UNKNOWN: usize = 80;
/// Narrower than this nothing is readable, so we don't try.
const WIDTH_LEAST: usize = 40;

/// How to write to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Face {
    pub(crate) width: usize,
    pub(crate) unicode: bool,
    pub(crate) colour: bool,
}

impl Face {
    pub(crate) fn of(stream: &(impl IsTerminal + AsFd), env: &Environment, colour: ColorChoice) -> Self {
        let terminal = stream.is_terminal();
        let measured = rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
        Self {
            width: width(terminal, measured, env),
            unicode: knows_unicode(env),
            colour: wants_colour(terminal, env, colour),
        }
    }

    /// `text` in `style`, or plain where there is no colour.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The Unicode sign, or what stands for it in ASCII.
    pub(crate) fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

fn width(terminal: bool, measured: Option<usize>, env: &Environment) -> usize {
    let told = env.text("COLUMNS").and_then(|text| text.parse().ok());
    let width = match measured.filter(|columns| terminal && *columns > 0) {
        Some(columns) => columns,
        None => told.unwrap_or(if terminal { WIDTH_UNKNOWN } else { WIDTH_ELSEWHERE }),
    };
    width.max(WIDTH_LEAST)
}

/// The locale's character set, by the variables' order of precedence.
fn knows_unicode(env: &Environment) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env.text(name)).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn wants_colour(terminal: bool, env: &Environment, choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && env.get("NO_COLOR").is_none() && env.text("TERM") != Some("dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let env = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs);
        for (terminal, variables, choice, expected) in [
            (true, &[("TERM", "xterm")][..], ColorChoice::Auto, true),
            (false, &[("TERM", "xterm")], ColorChoice::Auto, false),
            (true, &[("NO_COLOR", "1")], ColorChoice::Auto, false),
            (true, &[("NO_COLOR", "")], ColorChoice::Auto, true),
            (true, &[("TERM", "dumb")], ColorChoice::Auto, false),
            (false, &[("NO_COLOR", "1")], ColorChoice::Always, true),
            (true, &[], ColorChoice::Never, false),
        ] {
            assert_eq!(
                wants_colour(terminal, &env(variables), choice),
                expected,
                "{terminal} {variables:?} {choice:?}"
            );
        }
    }

    #[test]
    fn unicode_follows_the_locale() {
        for (variables, expected) in [
            (&[("LANG", "en_GB.UTF-8")][..], true),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "C"), ("LC_CTYPE", "C.utf8")], true),
            (&[], false),
        ] {
            assert_eq!(knows_unicode(&Environment::from_pairs(variables)), expected, "{variables:?}");
        }
    }

    #[test]
    fn the_width_is_measured_then_told_then_guessed() {
        let none = Environment::default();
        let told = Environment::from_pairs(&[("COLUMNS", "132")]);
        assert_eq!(width(true, Some(120), &told), 120);
        assert_eq!(width(true, Some(0), &told), 132);
        assert_eq!(width(true, None, &none), 80);
        assert_eq!(width(false, None, &none), 100);
        assert_eq!(width(false, None, &told), 132);
        assert_eq!(width(true, Some(3), &none), 40);
    }
}
