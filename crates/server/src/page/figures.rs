//! Numbers, spans of time and moments as people read them.

use std::borrow::Borrow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// `12,345`.
pub(super) fn thousands(number: impl Borrow<u64>) -> String {
    let number = *number.borrow();
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 line`, `2 lines`.
pub(super) fn counted(number: impl Borrow<u64>, one: &str, many: &str) -> String {
    let number = *number.borrow();
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `0.4 s`, `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn took(duration: impl Borrow<Duration>) -> String {
    let duration = *duration.borrow();
    let seconds = duration.as_secs_f64();
    let whole = duration.as_secs();
    let two = |a: u64, a_unit: &str, b: u64, b_unit: &str| match b {
        0 => format!("{a} {a_unit}"),
        _ => format!("{a} {a_unit} {b} {b_unit}"),
    };
    match whole {
        _ if seconds < 0.0995 => format!("{:.0} ms", seconds * 1000.0),
        0..=9 => format!("{seconds:.1} s"),
        10..=59 => format!("{whole} s"),
        60..=3599 => two(whole / 60, "min", whole % 60, "s"),
        3600..=86_399 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// `2.5 GiB`.
pub(super) fn bytes(number: impl Borrow<u64>) -> String {
    let number = *number.borrow();
    coroner_diagnosis::bytes(number)
}

/// `$0.42`, and more places for less.
pub(super) fn dollars(amount: impl Borrow<f64>) -> String {
    let amount = *amount.borrow();
    match amount {
        _ if amount == 0.0 => "$0".to_owned(),
        _ if amount < 0.01 => format!("${amount:.4}"),
        _ => format!("${amount:.2}"),
    }
}

/// `87 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "0 %".to_owned(),
        _ => {
            let share = part as f64 / whole as f64 * 100.0;
            if share > 0.0 && share < 1.0 { "<1 %".to_owned() } else { format!("{share:.0} %") }
        }
    }
}

/// `3 min ago`. A moment in the future, of a clock that is wrong, has its date.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    match seconds {
        i64::MIN..=-60 => date(at),
        -59..=44 => "just now".to_owned(),
        45..=3569 => format!("{} min ago", (seconds + 30) / 60),
        3570..=84_599 => format!("{} h ago", (seconds + 1800) / 3600),
        84_600..=604_799 => format!("{} d ago", (seconds + 43_200) / 86_400),
        _ => date(at),
    }
}

// a table has hundreds of moments: `strftime` reads its format anew for each
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn of_date(date: Date) -> String {
    let month = MONTHS[usize::from(date.month().unsigned_abs() - 1) % 12];
    format!("{} {month} {}", date.day(), date.year())
}

/// `28 Nov 2026`.
pub(super) fn date(at: Timestamp) -> String {
    of_date(at.to_zoned(TimeZone::UTC).date())
}

/// `Sat 28 Nov 2026, 16:45:12 UTC`.
pub(super) fn exact(at: Timestamp) -> String {
    let it = at.to_zoned(TimeZone::UTC).datetime();
    let day = DAYS[usize::from(it.weekday().to_monday_zero_offset().unsigned_abs()) % 7];
    format!("{day} {}, {:02}:{:02}:{:02} UTC", of_date(it.date()), it.hour(), it.minute(), it.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"].map(String::from)
        );
        let spans =
            [(0.012, "12 ms"), (0.4, "0.4 s"), (42.9, "42 s"), (192.0, "3 min 12 s"), (7500.0, "2 h 5 min")];
        for (seconds, text) in spans {
            assert_eq!(took(Duration::from_secs_f64(seconds)), text);
        }
        assert_eq!(
            (percent(0, 0), percent(1, 1000), percent(1, 3)),
            ("0 %".into(), "<1 %".into(), "33 %".into())
        );
    }

    #[test]
    fn moments() {
        let now: Timestamp = "2026-11-28T16:45:00Z".parse().unwrap();
        let at = |text: &str| ago(text.parse().unwrap(), now);
        assert_eq!(at("2026-11-28T16:44:50Z"), "just now");
        assert_eq!(at("2026-11-28T16:40:00Z"), "5 min ago");
        assert_eq!(at("2026-11-27T20:45:00Z"), "20 h ago");
        assert_eq!(at("2026-11-26T16:45:00Z"), "2 d ago");
        assert_eq!(at("2026-10-01T00:00:00Z"), "1 Oct 2026");
        assert_eq!(at("2027-10-01T00:00:00Z"), "1 Oct 2027");
        assert_eq!(exact(now), "Sat 28 Nov 2026, 16:45:00 UTC");
    }
}
