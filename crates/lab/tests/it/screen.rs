//! What the built-in policy refuses and what it lets be, snippet by snippet.

use coroner_lab::screen::{Policy, PythonVersion, Screening, screen};

fn look(source: &str) -> Screening {
    screen(source.as_bytes(), &Policy::default(), PythonVersion::default())
}

#[test]
fn what_is_refused_and_what_is_not() {
    for (source, expected) in [
        ("import os", "Forbidden import: os"),
        ("e = eval\ne('1')", "Forbidden name: eval"),
        ("getattr(__builtins__, 'ev' + 'al')('1')", "Forbidden name: eval; Forbidden name: __builtins__"),
        ("globals()['__builtins__']", "Forbidden name: __builtins__"),
        (
            "().__class__.__bases__[0].__subclasses__()",
            "Forbidden attribute: __bases__; Forbidden attribute: __subclasses__",
        ),
        ("from . import os", "Forbidden import from: ."),
        ("from os import *", "Forbidden import from: os"),
        (
            "import numpy as np\nnp.load('x', allow_pickle=True)",
            "Forbidden call: numpy.load with allow_pickle=True",
        ),
        ("import random\nrandom._os.system('x')", "Forbidden import: os"),
        (
            "x = t'{a}'",
            "Syntax error on line 1: Cannot use t-strings on Python 3.11 (syntax was added in Python 3.14)",
        ),
        ("", "The candidate is empty: the file has no bytes"),
        ("model.eval()", ""),
        ("def f(input, file, dir): return input", ""),
        ("import re, torch\nre.compile('x'); torch.compile(f)", ""),
    ] {
        assert_eq!(look(source).error_message(), expected, "{source}");
    }
}

#[test]
fn depth_harms_nobody() {
    for (source, expected) in [
        ("(".repeat(100_000), "Syntax error on line 1: too many nested parentheses"),
        ("f'{".repeat(100_000), "Syntax error on line 1: too many nested f-strings or t-strings"),
        (format!("x = {}1", "a.b+".repeat(100_000)), "Syntax error on line 1: expression nested too deeply"),
        (format!("x = {}1{}", "(".repeat(190), ")".repeat(190)), ""),
        (format!("x = {}1", "-".repeat(1990)), ""),
        (format!("x = {}1", "lambda: ".repeat(1990)), ""),
    ] {
        assert_eq!(look(&source).error_message(), expected, "{}", &source[..20]);
    }
}
