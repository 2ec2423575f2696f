//! What a line says of itself, before any rule is asked: that it is an error, a complaint, a warning, or that all is well.

use crate::pattern::pattern;

/// How loudly a line speaks of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Signal {
    /// It holds a word of trouble but speaks of success, advice, a warning, a command or a name.
    Harmless,
    /// It says that something else failed before: exit codes, summaries, advice on how to go on.
    Consequence,
    /// It holds a word of trouble.
    Weak,
    /// It has the form of an error message.
    Strong,
    /// A test framework says of one test that it failed.
    Test,
}

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
    |\b(?:warning|warn|deprecat(?:ed|ion)|DEBUG|INFO)\b\s*[:\]]|^WARN
    |\bfor\sdebugging\b|\bconsider\s(?:passing|using|setting|adding)\b|\bmay\s(?:be\scaused|have\sbeen\scaused)\b
    |^\s*(?:\+{1,3}|\$|\#)\s+\S|^\[command\]|^npm\s(?:WARN|notice|http|info)|\w*Warning:|\s{2,}0\s*$
    |^\s*(?:ok\s\d|✓|✔|√|PASS\b|PASSED\b|\[\s+OK\s)
    |\b(?:PASSED|passed|SUCCESS|succeeded)\s*$|\.\.\.\s*ok\s*$
    |^\s*(?:Downloading|Downloaded|Collecting|Unpacking|Setting\sup|Selecting|Preparing|Get:\d|Fetching|Installing|Compiling|Checking|Building|Receiving|Requirement|Successfully|copying|creating|adding|inflating|extracting|running|Documenting|Linking|\[\d+/\d+\]|\[\s*\d+%\])\b
    |^\s*(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|/usr/bin/\S+|ar|ld|rustc|javac|ccache|libtool:)\s.*\s-[a-zA-Z]
    |\berror\s(?:handling|handler|code\s0|rate|messages?|pages?)\b
    |\bif\s(?:this|it|you|the)\b.*\b(?:fails?|error)
    |\bexpected\s(?:to\s)?fail|\bxfail|\bignored?\b.*\berror|\berror\b.*\bignored\b
    "#
);

pattern!(
    WEAK,
    r"(?ix)
    \b(?:errors?|err|exceptions?|fail(?:s|ed|ure|ures|ing)?|fatal|panic(?:ked)?|abort(?:s|ed|ing)?|traceback|killed|crash(?:ed|es)?|segfault|segmentation
        |denied|refused|rejected|forbidden|unauthorized|cannot|can't|couldn't|unable|undefined|unresolved|missing|invalid|illegal|unexpected|unknown
        |assert(?:ion)?s?|timeout|timed?\sout|exceed(?:s|ed)?|deadlock|interrupted|terminated|cancell?ed|mismatch(?:ed)?|conflicts?|corrupt(?:ed)?|unsupported
        |unavailable|unreachable|overflow|underflow|nan|diverged|stalled|unhealthy|evicted|preempted|broken|bad|wrong|differs?|violations?|badmatch|throw)\b
    |\b(?:could|can|did|does|is|was|are|were)\snot\b|\bnot\s(?:found|ok|allowed|exist|installed|supported|better|available|equal|in\sorder)\b|\bno\ssuch\b|\bno\sspace\b|\bout\sof\b
    |[a-z](?:Error|Exception|Failure)\b|\b(?:exit|exited|returned)\b.*\b[1-9]\d*\b
    "
);
pattern!(
    CONSEQUENCE,
    r"(?x)
    ^\s*\[ERROR\]\s*(?:$|->\s\[Help|For\smore\sinformation|Re-run\sMaven|To\ssee\sthe\sfull|\s*mvn\s<|After\scorrecting|\[Help\s\d|There\sare\stest\sfailures|Please\srefer\sto|(?:Errors|Failures|Tests\srun):?.*$|Failed\sto\sexecute\sgoal\s\S*(?:surefire|failsafe))
    |\b(?:MojoFailureException|MojoExecutionException|LifecycleExecutionException|VerificationException:\sThere\swere|TaskExecutionException:|LocationAwareException)
    |\bexited\swith\s[1-9]|\b[Pp]rocess\scompleted\swith\sexit\scode|[Ee]xited\s(?:with\s)?(?:code|status)\s[1-9]|\bexit\s(?:code|status):?\s[1-9]|\breturned\s(?:a\s)?non-zero\s
    |^\S*make(?:\[\d+\])?:\s\*\*\*\s|^ninja:\sbuild\sstopped|^npm\sERR!\s(?:code\sELIFECYCLE|errno|Exit\sstatus|A\scomplete\slog|Failed\sat|This\sis\sprobably|There\sis\slikely|If\syou\sneed|.*\.log$|\s*$|Test\sfailed\.)
    |^\s*(?:Execution\sfailed\sfor\stask|FAILURE:\sBuild\sfailed|BUILD\sFAILED|BUILD\sFAILURE|There\swere\sfailing\stests|\*\sWhat\swent\swrong|\*\sTry:|>\sTask\s\S+\sFAILED|>\sThere\swere\sfailing)
    |^\s*(?:Error:\s)?(?:Command|Process)\s.*(?:failed|exited)\s(?:with|\()|^\s*error\sCommand\sfailed\swith
    |^\s*(?:\d+\s(?:failing|failed|errors?\b|tests?\sfailed|problems?\b)|(?:Tests?|Test\sSuites?|Tests\srun|Specs):\s|=+\s.*\b(?:failed|error|passed)\b.*=+$|FAILED\s\(|Finished\sin\s|One\sor\smore\stests\sfailed|\*\*\*\s(?:Failed|FAILED)\s\*\*\*)
    |^\s*(?:error:\s)?(?:aborting\sdue\sto|could\snot\scompile\s`|build\sfailed|test\sfailed,\sto\srerun|test\sresult:)|^error:\sprocess\sdidn't\sexit|^FAIL\s+\S+\s+\d+\.\d+s$|^(?:FAIL|exit\sstatus\s\d+)$
    |(?i:\bterminated\s(?:while|by)\b|\b(?:shutting|tearing)\sdown\b|\bcleaning\sup\b|\bstopping\s(?:all\s)?workers|\bsending\s(?:process|signal|sig)|\bclosing\ssignal\b|\bkilling\s(?:all|remaining)|\bmarking\s.*\bas\s(?:failed|crashed))
    |\bYour\sbuild\s(?:exited|has)|^\s*Caused\sby:\s*$|^\s*at\s\S+[(]|^\s*\d+\serrors?\sgenerated|^collect2:\serror|\bSubprocess\s.*returned
    |^\s*(?:Summary|Results|Failed\stests?|Tests\sin\serror|Failures|Errors)\s*:?\s*$|^travis_(?:time|fold):|^\s*\d+\)\s*$
    |^=+\s(?:FAILURES|ERRORS|short\stest\ssummary\sinfo)\s=+$
    |^\W*(?i:failed|failures?)\W{0,4}\s*\d+(?:/\d+)?\s(?i:tests?|subtests|files?|checks?|specs?|examples?|assertions?|test\sprograms)|^\W*(?i:failed|failures?)\W{0,4}\s\d+\sfiles?\b
    |\b[1-9]\d*(?:/\d+)?\s(?:\w+\s){0,2}(?:failed|failures?|errors?|problems?|offenses?|vulnerabilities)(?:\s(?:detected|found|generated))?\W*$
    |^Result:\sFAIL|^(?i:test|tests|build)\sfail(?:ed|ure)\W*$
    "
);
pattern!(
    TEST,
    r"(?x)
    ^\s*(?:\[ERROR\]\s)?\S.*<<<\s(?:FAILURE|ERROR)!
    |^\S.*\s>\s.+\sFAILED$
    |^\s*(?:\[junit\]\s)?Testcase:\s.*(?:FAILED|Caused\san\sERROR)
    |^\s*---\sFAIL:\s
    |^(?:FAIL|ERROR):\s\w+\s\([\w.]+\)
    |^_{2,}\s.+\s_{2,}$
    |^E\s{2,}\S
    |^\s*●\s.*\s›\s
    |^\s*not\sok\s\d+
    |^\s*thread\s'.*'\s(?:\(\d+\)\s)?panicked\sat
    |^\s*(?:✖|✗|✘|×)\s\S
    |^\[\s+FAILED\s+\]\s\S+\.\S+$|^\s*(?:Failure|Error):\s*$
    "
);

/// What the (cleaned) line says of itself; `None` if it holds no word of trouble.
pub(crate) fn signal(line: &str) -> Option<Signal> {
    if line.starts_with("travis_") {
        return Some(Signal::Consequence);
    }
    if line.starts_with('_') && TEST.is_match(line) {
        return Some(Signal::Test);
    }
    if !crate::sparse::trouble().is_match(line)
        && !line.starts_with("E  ")
        && !line.contains(['●', '✖', '✗', '✘', '×'])
    {
        return None;
    }
    if CONSEQUENCE.is_match(line) {
        return Some(Signal::Consequence);
    }
    if TEST.is_match(line) && !starts_harmless(line) {
        return Some(Signal::Test);
    }
    if HARMLESS.is_match(line) {
        return Some(if STRONG.is_match(line) && !starts_harmless(line) {
            Signal::Weak
        } else {
            Signal::Harmless
        });
    }
    if STRONG.is_match(line) {
        return Some(Signal::Strong);
    }
    WEAK.is_match(line).then_some(Signal::Weak)
}

/// Warnings and echoed commands stay harmless whatever they quote.
fn starts_harmless(line: &str) -> bool {
    pattern!(
        START,
        r"(?i)^\s*(?:\[?(?:warn(?:ing)?|info|debug|trace|notice)\b|(?:\+{1,3}|\$)\s|ok\s\d|✓|✔|PASS\b)"
    );
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
        use Signal::{Consequence, Harmless, Strong, Test, Weak};
        let cases = [
            ("loading information from the table", None),
            ("E   assert 1 == 2", Some(Test)),
            ("foo.c:3:1: error: unknown type name 'x'", Some(Strong)),
            ("error[E0308]: mismatched types", Some(Strong)),
            ("##[error]Process completed with exit code 1.", Some(Consequence)),
            ("make[2]: *** [all] Error 2", Some(Consequence)),
            ("[ERROR] -> [Help 1]", Some(Consequence)),
            ("FooTest > bar FAILED", Some(Test)),
            ("____________ test_x ____________", Some(Test)),
            ("not ok 3 - adds", Some(Test)),
            ("  - installed the nanoid package", None),
            ("ValueError: no", Some(Strong)),
            ("Tests run: 5, Failures: 2, Errors: 0", Some(Consequence)),
            ("compiled with 0 errors", Some(Harmless)),
            ("warning: error in the comment", Some(Harmless)),
            ("For debugging consider passing CUDA_LAUNCH_BLOCKING=1. Error", Some(Harmless)),
            ("+ echo error: x", Some(Harmless)),
            ("Compiling error-chain v0.12", Some(Harmless)),
            ("test that errors are shown ... ok", Some(Harmless)),
            ("the request failed", Some(Weak)),
            ("thread 'main' panicked at src/main.rs:1", Some(Test)),
        ];
        for (line, want) in cases {
            assert_eq!(signal(line), want, "{line}");
        }
        assert!(is_progress("Epoch 3/10: 40%|####   | 12/30 [00:01<00:02, 9.1it/s]"));
        assert!(is_progress("step 1180 loss 2.31"));
        assert!(!is_progress("stepping stone"));
    }
}
