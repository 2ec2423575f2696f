//! Durations, sizes and large numbers: as people write them on a command line, as people read them.

use std::time::Duration;

/// Reads "90s", "5min", "1h 30m", "7d"; a bare number is seconds, as for timeout(1).
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("`{text}` is not a duration; write it as 90s, 5min, 1h30m or 7d"));
    }
    humantime::parse_duration(text).map_err(|reason| {
        format!("`{text}` is not a duration ({reason}); write it as 90s, 5min, 1h30m or 7d")
    })
}

/// Reads "512M", "2G", "2GiB", "1.5G"; units are powers of 1024, a bare number is bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it as 512M, 2G or 1.5G (units are powers of 1024)");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1024_u64.pow(power)).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * 1024_f64.powi(power.cast_signed());
    // 2^53: above it a fraction of a byte would be the least of the troubles
    if bytes.is_finite() && bytes < 9_007_199_254_740_992.0 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// 300041 as "300,041".
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// "1 line", "300,041 lines".
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90", 90_000),
            ("0.5", 500),
            ("90s", 90_000),
            ("250ms", 250),
            ("5 min", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1", "5 parsecs", "NaN", "1e400"] {
            let wrong = parse_duration(text).unwrap_err();
            assert!(wrong.contains(&format!("`{text}` is not a duration")), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("2GiB", 2 << 30),
            ("2 gb", 2 << 30),
            ("1.5G", 3 << 29),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "lots", "2X", "-1", "1.2.3M", "99999999999T", "G"] {
            let wrong = parse_size(text).unwrap_err();
            assert!(wrong.contains("is not a size"), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (300_041, "300,041"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(n), text);
        }
        assert_eq!(counted(1, "line", "lines"), "1 line");
        assert_eq!(counted(1200, "line", "lines"), "1,200 lines");
    }
}
