//! Regular expressions over single lines: compiled when first needed, small, and ASCII unless they name other characters.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use regex_automata::meta::Regex;
use regex_automata::{PatternID, Span};

/// A pattern and, once it was needed, its automaton.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) source: Cow<'static, str>,
    /// How often it has been tried; from `BUSY` on it is worth a faster automaton.
    tried: AtomicU32,
    cache: usize,
    small: OnceLock<Option<Regex>>,
    fast: OnceLock<Option<Regex>>,
}

/// A pattern that was tried this often will be tried often again: a batch, or a pattern of every line.
const BUSY: u32 = 64;
/// What the faster automaton of one pattern may take, in bytes: of a rule's (some hundreds are busy at most), and of one
/// of ours that is tried on every line that speaks of trouble.
const FAST_CACHE: usize = 64 << 10;
const OURS_CACHE: usize = 1 << 20;

impl Pattern {
    /// Nothing is compiled before it is needed: of thousands of patterns a log needs dozens.
    pub(crate) const fn new(source: Cow<'static, str>) -> Self {
        Self::with_cache(source, FAST_CACHE)
    }

    /// One of ours.
    pub(crate) const fn ours(source: &'static str) -> Self {
        Self::with_cache(Cow::Borrowed(source), OURS_CACHE)
    }

    const fn with_cache(source: Cow<'static, str>, cache: usize) -> Self {
        Self { source, tried: AtomicU32::new(0), cache, small: OnceLock::new(), fast: OnceLock::new() }
    }

    /// `\w`, `\d`, `\s`, `\b` and case mean ASCII unless a class holds other characters: the tables of Unicode make a
    /// pattern ten times as large.
    fn regex(&self) -> Option<&Regex> {
        let build = |fast: bool, unicode: bool| {
            let config = regex_automata::meta::Config::new()
                .hybrid(fast)
                .hybrid_cache_capacity(self.cache)
                .dfa(false)
                .onepass(false)
                .utf8_empty(false);
            let syntax = regex_automata::util::syntax::Config::new().unicode(unicode).utf8(false);
            regex_automata::meta::Builder::new().configure(config).syntax(syntax).build(&self.source).ok()
        };
        // a rule's was parsed when the rule was loaded, one of ours is run by a test; what can still fail is the size
        // limit, which a test holds for our rules and `coroner rules check` for others
        let fast = self.tried.load(Relaxed) >= BUSY || self.tried.fetch_add(1, Relaxed) >= BUSY;
        let slot = if fast { &self.fast } else { &self.small };
        slot.get_or_init(|| build(fast, false).or_else(|| build(fast, true))).as_ref()
    }

    pub(crate) fn is_match(&self, line: &str) -> bool {
        self.regex().is_some_and(|r| r.is_match(line))
    }

    /// Group `i` of the first match, where it took part.
    pub(crate) fn groups<'l>(&self, line: &'l str) -> Option<Vec<Option<&'l str>>> {
        let regex = self.regex()?;
        let mut found = regex.create_captures();
        regex.captures(line, &mut found);
        found.is_match().then(|| found.iter().map(|span| span.and_then(|s| line.get(s.range()))).collect())
    }

    /// The named captures of the first match.
    pub(crate) fn captures(&self, line: &str) -> Option<Vec<(String, String)>> {
        let regex = self.regex()?;
        let mut found = regex.create_captures();
        regex.captures(line, &mut found);
        if !found.is_match() {
            return None;
        }
        let names = found.group_info().pattern_names(PatternID::ZERO).enumerate();
        let text = |span: Span| String::from_utf8_lossy(&line.as_bytes()[span.range()]).into_owned();
        Some(names.filter_map(|(i, name)| Some((name?.to_owned(), text(found.get_group(i)?)))).collect())
    }

    /// Where group `name` stands in each match, or the whole match where it took no part.
    pub(crate) fn ranges(&self, text: &str, name: &str) -> Vec<std::ops::Range<usize>> {
        let Some(regex) = self.regex() else { return Vec::new() };
        regex
            .captures_iter(text)
            .filter_map(|c| c.get_group_by_name(name).or_else(|| c.get_group(0)))
            .map(|s| text.floor_char_boundary(s.start)..text.ceil_char_boundary(s.end))
            .collect()
    }
}

/// A static pattern of ours.
macro_rules! pattern {
    ($name:ident, $source:expr) => {
        static $name: $crate::pattern::Pattern = $crate::pattern::Pattern::ours($source);
    };
}
pub(crate) use pattern;
