//! Whether and when to try again: the rules of the provider's own SDK (Python, 2.12.0, `_base_client.py`).

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// What the SDK waits after the first failure, if nobody says anything else.
const FIRST: Duration = Duration::from_millis(500);
/// What it waits at most.
const LONGEST: Duration = Duration::from_secs(8);
/// Up to this share is taken off at random, so that those who failed together do not come back together.
const JITTER: f64 = 0.25;

/// What a failed attempt says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// It would fail again.
    Never,
    /// After a pause of our own choice.
    Soon,
    /// After what the provider asked for.
    After(Duration),
}

impl Advice {
    /// What status and headers of an answer say.
    pub(crate) fn read(status: u16, headers: &HeaderMap, now: Timestamp) -> Self {
        let again = match text(headers, "x-should-retry") {
            Some("true") => true,
            Some("false") => false,
            // 424 is Bedrock's for a model that stumbled
            _ => matches!(status, 408 | 409 | 424 | 429 | 500..),
        };
        match (again, asked_to_wait(headers, now)) {
            (false, _) => Self::Never,
            (true, Some(wait)) => Self::After(wait),
            (true, None) => Self::Soon,
        }
    }

    /// How long to wait before the try after `done` retries; `None` if there should be none. `luck` is in 0..1.
    pub(crate) fn wait(self, done: u32, luck: f64) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(wait) => Some(wait),
            Self::Soon => {
                let pause = FIRST.saturating_mul(2_u32.saturating_pow(done)).min(LONGEST);
                Some(pause.mul_f64(1.0 - JITTER * luck))
            }
        }
    }
}

/// `retry-after-ms`, else `retry-after` in seconds or as a date; nothing if it is missing, broken or over.
pub(crate) fn asked_to_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| text(headers, name)?.trim().parse::<f64>().ok();
    let seconds =
        number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after")).or_else(|| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text(headers, "retry-after")?)
                .ok()?;
            Some(date.duration_since(now).as_secs_f64())
        })?;
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    #[test]
    fn the_providers_wishes_are_read() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let ms = |ms| Advice::After(Duration::from_millis(ms));
        for (status, headers, advice) in [
            (400, vec![], Advice::Never),
            (404, vec![("retry-after", "1")], Advice::Never),
            (408, vec![], Advice::Soon),
            (409, vec![], Advice::Soon),
            (424, vec![], Advice::Soon),
            (429, vec![], Advice::Soon),
            (500, vec![], Advice::Soon),
            (503, vec![("x-should-retry", "false")], Advice::Never),
            (400, vec![("x-should-retry", "true")], Advice::Soon),
            (529, vec![("retry-after", "7")], ms(7_000)),
            (429, vec![("retry-after", "0.5")], ms(500)),
            (429, vec![("retry-after-ms", "120"), ("retry-after", "7")], ms(120)),
            (429, vec![("retry-after-ms", "soon"), ("retry-after", "7")], ms(7_000)),
            (429, vec![("retry-after", "Mon, 23 Nov 2026 12:00:03 GMT")], ms(3_000)),
            (429, vec![("retry-after", "Mon, 23 Nov 2026 11:00:00 GMT")], Advice::Soon),
            (429, vec![("retry-after", "-1")], Advice::Soon),
            (429, vec![("retry-after", "nan")], Advice::Soon),
            (429, vec![("retry-after", "inf")], Advice::Soon),
            (429, vec![("retry-after", "tomorrow")], Advice::Soon),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
                .collect();
            assert_eq!(Advice::read(status, &map, now), advice, "{status} {headers:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_are_jittered() {
        let waits: Vec<u64> = [0, 1, 2, 3, 4, 5, 40, u32::MAX]
            .into_iter()
            .map(|n| Advice::Soon.wait(n, 0.0).unwrap().as_millis().try_into().unwrap())
            .collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000]);
        assert_eq!(Advice::Soon.wait(0, 1.0), Some(Duration::from_millis(375)));
        assert_eq!(Advice::Never.wait(0, 0.5), None);
        assert_eq!(Advice::After(Duration::from_secs(60)).wait(3, 0.5), Some(Duration::from_secs(60)));
    }
}
