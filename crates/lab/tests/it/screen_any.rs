//! What holds of the screening whatever the source: it always answers, inside the source, and knows the same code again.

use coroner_lab::screen::{Policy, PythonVersion, Screening, screen};
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::LazyLock;

static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| {
    [Policy::default(), Policy::parse(include_str!("original-policy.toml"), "original-policy.toml").unwrap()]
});

fn look(source: &[u8], policy: usize) -> Screening {
    screen(source, &POLICIES[policy], PythonVersion::default())
}

/// Every place that is named lies in the source, and what is quoted stands there.
fn places_hold(source: &str, screening: &Screening) {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    for finding in screening.findings.iter().chain(&screening.notes) {
        let line = source.split('\n').nth(finding.line as usize - 1);
        let line = line.unwrap_or_else(|| panic!("no line {}: {finding:?}", finding.line));
        let rest: String = line.chars().skip(finding.column as usize - 1).collect();
        assert!(finding.column as usize <= line.chars().count() + 1, "{finding:?} in {line:?}");
        assert!(rest.starts_with(&finding.text), "{finding:?} in {line:?}");
    }
}

const WORDS: &[&str] = &[
    "def f(x):",
    "class A:",
    "if x:",
    "else:",
    "try:",
    "except E as e:",
    "for i in y:",
    "while x:",
    "with a as b:",
    "match x:",
    "case [a, *b]:",
    "import os",
    "from a.b import c as d",
    "from . import x",
    "from os import *",
    "global x",
    "nonlocal y",
    "return x",
    "yield",
    "await f()",
    "async def g():",
    "lambda a=1, *b: a",
    "x",
    "eval",
    "getattr",
    "__builtins__",
    "globals()",
    "sys.modules",
    "'os'",
    "\"e\" + 'val'",
    "f'{x!r:>{w}}'",
    "t'{a}'",
    "rb'\\x00'",
    "'''open",
    "f'",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    ".",
    "=",
    ":=",
    "->",
    "**",
    "*",
    "@",
    "not",
    "in",
    "is",
    "if",
    "else",
    "\n",
    "\n    ",
    "\n        ",
    "\n\t",
    "\\\n",
    ";",
    "# c",
    "1e5",
    "0x",
    "1_000",
    "é",
    "变量",
    "\u{feff}",
    "\r",
    "\x0c",
    "$",
    "?",
    "!",
    "\u{0}",
    "type X[T] = int",
    "del x",
    "().__class__",
    ".__subclasses__()",
    "[::-1]",
    ".format(x)",
    "'{0.__class__}'",
    "__import__('os')",
    "np.load(f, allow_pickle=True)",
];

fn soup() -> impl Strategy<Value = String> {
    proptest::collection::vec((select(WORDS), select(&["", " ", " ", "\n"][..])), 0..60)
        .prop_map(|parts| parts.into_iter().map(|(word, gap)| format!("{word}{gap}")).collect())
}

/// Whole programs that keep their meaning under comments and blank lines.
const LINES: &[&str] = &[
    "x = 1\n",
    "def f(a, b=2):\n    return a + b\n",
    "import os\n",
    "if x:\n    y = [1,\n         2]\nelse:\n    y = 'a # b'\n",
    "class A:\n    b = f'{x = }'\n    def c(self):\n        pass\n",
    "z = '''one\n\n# two\n'''\n",
    "x = (1 +\n     2)\n",
    "a = 1; b = 2\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_any_kind_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300), policy in 0..2_usize) {
        let screening = look(&bytes, policy);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            places_hold(text, &screening);
        }
        prop_assert_eq!(screening.unscreened, None);
    }

    #[test]
    fn text_of_any_kind_gets_an_answer(text in "\\PC{0,200}", policy in 0..2_usize) {
        let screening = look(text.as_bytes(), policy);
        places_hold(&text, &screening);
        prop_assert_eq!(screening.unscreened, None);
    }

    #[test]
    fn soup_of_tokens_gets_an_answer(text in soup(), policy in 0..2_usize) {
        let screening = look(text.as_bytes(), policy);
        places_hold(&text, &screening);
        prop_assert_eq!(screening.unscreened, None);
    }

    #[test]
    fn comments_and_blank_lines_change_nothing(
        parts in proptest::collection::vec(select(LINES), 1..8),
        fillers in proptest::collection::vec(select(&["", "\n", "# a comment\n", "   \n", "\n\n    # indented\n"][..]), 9),
    ) {
        let plain = parts.concat();
        let filled: String =
            parts.iter().zip(&fillers).map(|(part, filler)| format!("{filler}{part}")).collect::<String>() + fillers[8];
        let (a, b) = (look(plain.as_bytes(), 0), look(filled.as_bytes(), 0));
        prop_assert_eq!(&a.code_hash, &b.code_hash, "{}\n---\n{}", plain, filled);
        let messages = |s: &Screening| s.findings.iter().map(|f| f.message.clone()).collect::<Vec<_>>();
        prop_assert_eq!(messages(&a), messages(&b));
    }
}
