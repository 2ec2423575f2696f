//! Durations and sizes as people write them, in task files and on the command line.

use std::time::Duration;

/// Reads "90s", "5min", "1h 30m", "7d"; a bare number is seconds, as for timeout(1).
///
/// # Errors
/// A sentence that says how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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
///
/// # Errors
/// A sentence that says how to write it.
pub fn parse_size(text: &str) -> Result<u64, String> {
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
