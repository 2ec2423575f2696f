//! What a line says of itself, before any rule is asked: that it is an error, a complaint, a warning, or that all is well.

/// How loudly a line speaks of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Signal {
    /// It holds a word of trouble but speaks of success, advice, a warning, a command or a name.
    Harmless,
    /// It holds a word of trouble.
    Weak,
    /// It has the form of an error message.
    Strong,
}

macro_rules! pattern {
    ($name:ident, $source:expr) => {
        static $name: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
            // the patterns are ours: a test runs every one of them
            regex::Regex::new($source).unwrap_or_else(|e| unreachable!("{e}"))
        });
    };
}
pub(crate) use pattern;

pattern!(
    STRONG,
    r"(?x)
    ^\s*(?:E\s{2,}\S|\#\#\[error\]|\[ERROR\]|\[error\]|ERROR\b|Error\b|error\b(?::|\[)|FATAL|[Ff]atal\b|FAIL(?:ED|URE)?\b|Failed\b|Failure\b
        |panic:|PANIC|CRITICAL|[Aa]bort(?:ed|ing)\b|Killed\b|✖|✗|✘|×\s|●\s.*›|not\sok\b|Unhandled|Uncaught|uncaught\b|BUILD\sFAILED|Segmentation\sfault)
    |\b[A-Z]\w*(?:Error|Exception|Failure|Fault)\b(?::|\s*$|\sat\s)
    |(?:^|[\s:\])>])(?:fatal\s)?(?:error|ERROR|Error)\s*(?:[A-Z]{1,4}\d{2,5})?\s*(?::|\[E\d)
    |\b(?:FAILED|FAILURE|FAIL:)
    |<<<\s*(?:ERROR|FAILURE)!
    |\bpanicked\sat\b
    |(?:^|[\s:])(?:fatal|FATAL|[Cc]ritical|CRITICAL|panic|Panic):
    |\bTraceback\s\(most\srecent
    |\b(?:command\snot\sfound|No\ssuch\sfile\sor\sdirectory|Permission\sdenied|core\sdumped|No\sspace\sleft|Connection\srefused|timed\sout)\b
    |\b(?:[Cc]ould\snot|[Cc]ouldn't|[Cc]annot|[Cc]an't|[Uu]nable\sto|[Ff]ailed\sto)\s(?:find|load|open|resolve|connect|create|import|read|write|locate|download|fetch|install|build|compile|access|execute|start|parse)\b
    "
);
pattern!(
    HARMLESS,
    r#"(?ix)
    \b(?:0|no|zero|without)\s(?:new\s)?(?:errors?|failures?|failed|exceptions?|issues|problems|violations|offenses|leaks)\b
    |\b(?:errors?|failures?|failed|skipped|unexpected)\s*[:=]\s*0\b
    |\bexited\swith\s0\b|\bexit(?:ed)?\s(?:code|status)\s0\b
    |^\s*(?:\[?(?:warn(?:ing)?|info|debug|trace|notice|note|hint|help|dim)\b\]?|W\d{4}\s|I\d{4}\s)
    |\b(?:warning|warn|deprecat(?:ed|ion)|DEBUG|INFO)\b\s*[:\]]
    |\bfor\sdebugging\b|\bconsider\s(?:passing|using|setting|adding)\b|\bmay\s(?:be\scaused|have\sbeen\scaused)\b
    |^\s*(?:\+{1,3}|\$|>|\#)\s*\S
    |^\s*(?:ok\s\d|✓|✔|√|PASS\b|PASSED\b|\[\s+OK\s)
    |\b(?:PASSED|passed|SUCCESS|succeeded|\.\.\.\s*ok)\s*$
    |^\s*(?:Downloading|Downloaded|Collecting|Unpacking|Setting\sup|Selecting|Preparing|Get:\d|Fetching|Installing|Compiling|Checking|Building|Receiving|Requirement|Successfully|copying|creating|adding|inflating|extracting|running|Documenting|Linking|\[\d+/\d+\]|\[\s*\d+%\])\b
    |^\s*(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|/usr/bin/\S+|ar|ld|rustc|javac|ccache|libtool:)\s.*\s-[a-zA-Z]
    |\berror\s(?:handling|handler|code\s0|rate|messages?|pages?)\b
    |\bif\s(?:this|it|you|the)\b.*\b(?:fails?|error)
    |\bexpected\s(?:to\s)?fail|\bxfail|\bignored?\b.*\berror|\berror\b.*\bignored\b
    "#
);

/// What the (cleaned) line says of itself; `None` if it holds no word of trouble.
pub(crate) fn signal(line: &str) -> Option<Signal> {
    if !crate::sparse::trouble().is_match(line) {
        return None;
    }
    if HARMLESS.is_match(line) {
        return Some(if STRONG.is_match(line) && !starts_harmless(line) { Signal::Weak } else { Signal::Harmless });
    }
    Some(if STRONG.is_match(line) { Signal::Strong } else { Signal::Weak })
}

/// Warnings and echoed commands stay harmless whatever they quote.
fn starts_harmless(line: &str) -> bool {
    pattern!(START, r"(?i)^\s*(?:\[?(?:warn(?:ing)?|info|debug|trace|notice)\b|(?:\+{1,3}|\$)\s|ok\s\d|✓|✔|PASS\b)");
    START.is_match(line)
}

/// A sign that the run went on after this line: training steps, epochs, progress bars.
pub(crate) fn is_progress(line: &str) -> bool {
    pattern!(
        PROGRESS,
        r"(?i)^\W*(?:epoch|step|iter(?:ation)?|batch|global[_ ]step)s?\b\W{0,3}\d|\b\d+(?:\.\d+)?\s?(?:it/s|s/it|steps/s|samples/s|tokens/s)\b|\b(?:epoch|step|iteration)\s*[:=]?\s*\d+\s*(?:/\s*\d+)?[\s,|:]"
    );
    line.bytes().any(|b| b.is_ascii_digit()) && PROGRESS.is_match(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_speak_for_themselves() {
        use Signal::{Harmless, Strong, Weak};
        let cases = [
            ("loading information from the table", None),
            ("E   assert 1 == 2", Some(Strong)),
            ("foo.c:3:1: error: unknown type name 'x'", Some(Strong)),
            ("error[E0308]: mismatched types", Some(Strong)),
            ("##[error]Process completed with exit code 1.", Some(Strong)),
            ("ValueError: no", Some(Strong)),
            ("Tests run: 5, Failures: 0, Errors: 0", Some(Harmless)),
            ("compiled with 0 errors", Some(Harmless)),
            ("warning: error in the comment", Some(Harmless)),
            ("For debugging consider passing CUDA_LAUNCH_BLOCKING=1. Error", Some(Harmless)),
            ("+ echo error: x", Some(Harmless)),
            ("Compiling error-chain v0.12", Some(Harmless)),
            ("test that errors are shown ... ok", Some(Harmless)),
            ("the request failed", Some(Weak)),
            ("thread 'main' panicked at src/main.rs:1", Some(Strong)),
        ];
        for (line, want) in cases {
            assert_eq!(signal(line), want, "{line}");
        }
        assert!(is_progress("Epoch 3/10: 40%|####   | 12/30 [00:01<00:02, 9.1it/s]"));
        assert!(is_progress("step 1180 loss 2.31"));
        assert!(!is_progress("stepping stone"));
    }
}
