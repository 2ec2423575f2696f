//! Secrets masked before anything leaves the process. The shapes are those that providers document for their keys;
//! what is masked is counted by kind, and the line around it stays as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::pattern::Pattern;

/// A kind of secret: the name in the mark, of what one must stand in the text (in any case) for it to be there, and its
/// shape. The group `s` is what is masked, the whole match where there is none.
struct Kind(&'static str, &'static [&'static str], Pattern);

const fn kind(name: &'static str, hints: &'static [&'static str], shape: &'static str) -> Kind {
    Kind(name, hints, Pattern::new(Cow::Borrowed(shape)))
}

static KINDS: [Kind; 34] = [
    kind(
        "private-key",
        &["private key"],
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?P<s>[^-]{16,})",
    ),
    kind("anthropic-key", &["sk-ant-"], r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    kind("openai-key", &["sk-"], r"\bsk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}"),
    kind(
        "aws-key-id",
        &["AKIA", "ASIA", "AGPA", "AIDA", "AROA", "ANPA"],
        r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}\b",
    ),
    kind(
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    ),
    kind(
        "gitlab-token",
        &["glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glft-", "glsoat-"],
        r"\bgl(?:pat|ptt|dt|rt|cbt|ft|soat)-[A-Za-z0-9_-]{18,}",
    ),
    kind("google-key", &["AIza"], r"\bAIza[A-Za-z0-9_-]{35}"),
    kind("google-token", &["ya29."], r"\bya29\.[A-Za-z0-9_-]{20,}"),
    kind("huggingface-token", &["hf_"], r"\bhf_[A-Za-z0-9]{20,}"),
    kind("slack-token", &["xox", "xapp-"], r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{10,}"),
    kind(
        "slack-webhook",
        &["hooks.slack"],
        r"hooks\.slack\.com/(?:services|workflows)/(?P<s>[A-Za-z0-9/_-]{20,})",
    ),
    kind(
        "discord-webhook",
        &["/webhooks/"],
        r"discord(?:app)?\.com/api/webhooks/\d+/(?P<s>[A-Za-z0-9_-]{20,})",
    ),
    kind("stripe-key", &["_live_", "_test_"], r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"),
    kind("npm-token", &["npm_", "_authToken"], r"\bnpm_[A-Za-z0-9]{30,}|_authToken\s*=\s*(?P<s>[^\s$]{8,})"),
    kind("pypi-token", &["pypi-"], r"\bpypi-[A-Za-z0-9_-]{30,}"),
    kind("docker-token", &["dckr_"], r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    kind("sendgrid-key", &["SG."], r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    kind("twilio-key", &["SK"], r"\bSK[0-9a-f]{32}\b"),
    kind("databricks-token", &["dapi"], r"\bdapi[0-9a-f]{32}"),
    kind("digitalocean-token", &["_v1_"], r"\bdo[opr]_v1_[0-9a-f]{40,}"),
    kind(
        "azure-key",
        &["AccountKey=", "SharedAccessKey=", "SharedAccessSignature="],
        r"(?i)\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=(?P<s>[A-Za-z0-9+/%=&_-]{20,})",
    ),
    kind("azure-signature", &["sig="], r"[?&]sig=(?P<s>[A-Za-z0-9%+/=_-]{20,})"),
    kind(
        "aws-signature",
        &["X-Amz-"],
        r"(?i)X-Amz-(?:Signature|Credential|Security-Token)=(?P<s>[A-Za-z0-9%+/=_-]{16,})",
    ),
    kind("groq-key", &["gsk_"], r"\bgsk_[A-Za-z0-9]{30,}"),
    kind("xai-key", &["xai-"], r"\bxai-[A-Za-z0-9]{30,}"),
    kind("replicate-token", &["r8_"], r"\br8_[A-Za-z0-9]{30,}"),
    kind("age-key", &["AGE-SECRET"], r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    kind("jwt", &["eyJ"], r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    kind("url-password", &["://"], r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:(?P<s>[^\s/@]{1,200})@"),
    kind(
        "bearer",
        &["bearer", "authorization:"],
        r"(?i)\b(?:bearer|authorization:\s*(?:basic|token|bearer))\s+(?P<s>[A-Za-z0-9._~+/=-]{8,})",
    ),
    kind(
        "header-key",
        &["api-key", "apikey", "auth-token", "private-token", "proxy-auth", "cookie"],
        r"(?i)\b(?:x-api-key|api-key|apikey|x-auth-token|private-token|proxy-authorization|set-cookie|cookie)\s*:\s*(?P<s>[^\s,;'\x22]{6,}(?:;[^\r\n'\x22]*)?)",
    ),
    kind(
        "secret",
        &["passw", "passphrase", "secret", "token", "key", "credential"],
        r"(?i)(?:^|[\s,;{(&?'\x22_.-])[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret(?:[_-]?(?:access)?[_-]?key)?|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|client[_-]?secret|auth[_-]?key|signing[_-]?key|encryption[_-]?key)['\x22]?\s*(?:=|:\s?|=>)\s*['\x22]?(?P<s>[^\s'\x22,;&|)}\[\]<>]{6,})",
    ),
    kind(
        "password-flag",
        &["-password", "-passwd", "-token", "-secret", "-api"],
        r"(?i)(?:^|\s)--?(?:password|passwd|token|secret|api-?key)(?:=|\s+)(?P<s>[^\s'\x22-][^\s'\x22]{3,})",
    ),
    kind(
        "email",
        &["@"],
        r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b",
    ),
];

struct Shapes {
    hints: AhoCorasick,
    /// for each hint the kind that it may be
    kinds: Vec<usize>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let hints = || KINDS.iter().enumerate().flat_map(|(i, k)| k.1.iter().map(move |h| (i, *h)));
    let texts = hints().map(|(_, h)| h);
    // ours, and built by every test that redacts
    let hints_automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(texts)
        .unwrap_or_else(|e| unreachable!("{e}"));
    Shapes { hints: hints_automaton, kinds: hints().map(|(i, _)| i).collect() }
});

/// Masks secrets; knows besides the shapes the values that the caller holds secret.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
}

/// How many of each kind were masked.
pub type Counts = BTreeMap<String, usize>;

impl Redactor {
    /// Masks, besides what looks like a secret, these values: the contents of environment variables whose names say
    /// that they are secret. Values shorter than 6 characters would mask half the log and are not taken.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().filter(|v| v.trim().len() >= 6).collect();
        // the longest first: one may be a part of another
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        values.dedup();
        Self { values }
    }

    /// Does an environment variable's name say that its value is secret?
    #[must_use]
    pub fn is_secret_name(name: &str) -> bool {
        const WORDS: &[&str] = &[
            "SECRET",
            "TOKEN",
            "PASSWORD",
            "PASSWD",
            "PASSPHRASE",
            "CREDENTIAL",
            "APIKEY",
            "API_KEY",
            "PRIVATE_KEY",
            "ACCESS_KEY",
            "AUTH_KEY",
            "_PAT",
        ];
        let upper = name.to_ascii_uppercase();
        WORDS.iter().any(|w| upper.contains(w)) && !upper.ends_with("_FILE") && !upper.ends_with("_PATH")
    }

    /// The byte ranges of `text` that are secret, in order, not touching, with their kinds.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<(std::ops::Range<usize>, &'static str)> {
        let mut found: Vec<(std::ops::Range<usize>, &'static str)> = Vec::new();
        for value in &self.values {
            found.extend(text.match_indices(value.as_str()).map(|(i, v)| (i..i + v.len(), "environment")));
        }
        let shapes = &*SHAPES;
        let mut maybe: Vec<usize> =
            shapes.hints.find_overlapping_iter(text).map(|h| shapes.kinds[h.pattern().as_usize()]).collect();
        maybe.sort_unstable();
        maybe.dedup();
        for Kind(name, _, shape) in maybe.into_iter().map(|i| &KINDS[i]) {
            let ranges = shape.ranges(text, "s").into_iter().filter(|r| !is_placeholder(&text[r.clone()]));
            found.extend(ranges.map(|r| (r, *name)));
        }
        found.sort_by_key(|(r, _)| (r.start, std::cmp::Reverse(r.end)));
        let mut merged: Vec<(std::ops::Range<usize>, &'static str)> = Vec::new();
        for (range, kind) in found {
            match merged.last_mut() {
                Some((last, _)) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, kind)),
            }
        }
        merged
    }

    /// `text` with every secret replaced by `[redacted:KIND]`; counts go into `counts`.
    #[must_use]
    pub fn redact(&self, text: &str, counts: &mut Counts) -> String {
        let found = self.find(text);
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for (range, kind) in found {
            out.push_str(&text[from..range.start]);
            out.push_str("[redacted:");
            out.push_str(kind);
            out.push(']');
            // a line keeps its number
            out.extend(text[range.clone()].chars().filter(|c| *c == '\n'));
            from = range.end;
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
        out.push_str(&text[from..]);
        out
    }

    /// The longest piece of `text` without a secret: a citation must stand in the log letter for letter.
    pub(crate) fn longest_clear<'t>(&self, text: &'t str) -> &'t str {
        let mut from = 0;
        let mut best = "";
        for (range, _) in self.find(text) {
            if range.start - from > best.len() {
                best = &text[from..range.start];
            }
            from = range.end;
        }
        if text.len() - from > best.len() { &text[from..] } else { best }
    }
}

/// What stands where a secret was already masked, or never was: `***`, `${TOKEN}`, `<token>`, `None`, `[redacted:x]`.
fn is_placeholder(value: &str) -> bool {
    let first = value.chars().next();
    let same = value.chars().all(|c| Some(c) == first);
    let lower = value.to_ascii_lowercase();
    // the login of a service, not a person's address
    same || lower.starts_with("git@")
        || value.starts_with(['$', '<', '%', '{', '*'])
        || lower.starts_with("[redacted")
        || lower.starts_with("redacted")
        || matches!(
            lower.as_str(),
            "none"
                | "null"
                | "true"
                | "false"
                | "undefined"
                | "hidden"
                | "xxxxxx"
                | "string"
                | "required"
                | "missing"
                | "expected"
                | "unexpected"
                | "invalid"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys are put together here so that no scanner takes this file for a leak.
    fn secrets() -> Vec<(&'static str, String)> {
        let a = |n: usize| "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA".chars().cycle().take(n).collect::<String>();
        vec![
            ("anthropic-key", format!("sk-ant-api03-{}", a(40))),
            ("openai-key", format!("sk-proj-{}", a(40))),
            ("aws-key-id", format!("AKIA{}", "ABCDEFGHIJ234567")),
            ("github-token", format!("ghp_{}", a(36))),
            ("gitlab-token", format!("glpat-{}", a(20))),
            ("google-key", format!("AIza{}", a(35))),
            ("huggingface-token", format!("hf_{}", a(34))),
            ("slack-token", format!("xoxb-{}", a(24))),
            ("stripe-key", format!("sk_live_{}", a(24))),
            ("npm-token", format!("npm_{}", a(36))),
            ("pypi-token", format!("pypi-{}", a(60))),
            ("jwt", format!("eyJ{}.eyJ{}.{}", a(20), a(30), a(30))),
            ("databricks-token", format!("dapi{}", "0123456789abcdef0123456789abcdef")),
        ]
    }

    #[test]
    fn known_shapes_are_masked_and_counted() {
        let redactor = Redactor::new(["hunter2hunter2".to_owned(), "abc".to_owned()]);
        for (kind, secret) in secrets() {
            let mut counts = Counts::new();
            let line = format!("loading key {secret} for step 3");
            assert_eq!(
                redactor.redact(&line, &mut counts),
                format!("loading key [redacted:{kind}] for step 3")
            );
            assert_eq!(counts[kind], 1);
        }
        let cases = [
            ("psql postgres://bob:s3cr3t@db:5432/x", "psql postgres://bob:[redacted:url-password]@db:5432/x"),
            ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted:bearer]"),
            ("DB_PASSWORD=correcthorse next", "DB_PASSWORD=[redacted:secret] next"),
            ("{\"api_key\": \"0123456789\"}", "{\"api_key\": \"[redacted:secret]\"}"),
            ("mail to jane.doe@example.org now", "mail to [redacted:email] now"),
            ("the value hunter2hunter2 leaked", "the value [redacted:environment] leaked"),
            ("login --token tok12345 ok", "login --token [redacted:password-flag] ok"),
            (
                "token = ******** and password: ${PW} and secret=None",
                "token = ******** and password: ${PW} and secret=None",
            ),
            ("unexpected token: expected ;", "unexpected token: expected ;"),
            ("SyntaxError: Unexpected token } in JSON", "SyntaxError: Unexpected token } in JSON"),
            ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ];
        for (line, want) in cases {
            assert_eq!(redactor.redact(line, &mut Counts::new()), want);
        }
        let pem = format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
            "MIIEow".repeat(20)
        );
        assert!(!redactor.redact(&pem, &mut Counts::new()).contains("MIIEow"));
        assert_eq!(redactor.longest_clear("api_key=abcdef123456 which is long"), " which is long");
        assert!(Redactor::is_secret_name("MY_API_KEY") && !Redactor::is_secret_name("KEYBOARD"));
    }

    proptest! {
        #[test]
        fn no_secret_survives_any_neighbourhood(before in "[ -~]{0,30} ", after in " [ -~]{0,30}", i in 0usize..13) {
            let (_, secret) = secrets().swap_remove(i);
            let line = format!("{before}{secret}{after}");
            prop_assert!(!Redactor::default().redact(&line, &mut Counts::new()).contains(&secret));
        }

        #[test]
        fn twice_is_once(text in "\\PC{0,120}") {
            let redactor = Redactor::default();
            let once = redactor.redact(&text, &mut Counts::new());
            prop_assert_eq!(redactor.redact(&once, &mut Counts::new()), once);
        }
    }
}
