//! The second factor: codes of six digits that change every half minute (RFC 6238 over HMAC-SHA-1, which is what
//! authenticator programs speak).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Seconds that a code is valid.
const STEP: i64 = 30;

/// A new secret of 160 bits.
///
/// # Errors
/// If the system gives no random numbers.
pub fn new_totp_secret() -> std::io::Result<Vec<u8>> {
    let mut secret = vec![0; 20];
    getrandom::fill(&mut secret).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(secret)
}

/// What an authenticator program takes in, typed or as a picture.
#[must_use]
pub fn totp_uri(name: &str, secret: &[u8]) -> String {
    let label: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.@".contains(*c)).collect();
    format!("otpauth://totp/coroner:{label}?secret={}&issuer=coroner", base32(secret))
}

/// The step that a code belongs to, if it is one of now or of the step before or after: clocks differ.
pub(super) fn step_of(secret: &[u8], code: &str, seconds: i64) -> Option<i64> {
    let code = code.trim();
    let now = seconds.div_euclid(STEP);
    [now, now - 1, now + 1].into_iter().find(|step| {
        let expected = format!("{:06}", digits(secret, *step) % 1_000_000);
        bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), code.as_bytes()))
    })
}

fn digits(secret: &[u8], step: i64) -> u32 {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else { return 0 };
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[hash.len() - 1] & 0xf);
    u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]) & 0x7fff_ffff
}

fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::new();
    let (mut held, mut bits) = (0u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        out.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        // RFC 6238, appendix B, the last six of eight digits
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(step_of(secret, code, seconds), Some(seconds / 30), "{seconds}");
            assert_eq!(step_of(secret, code, seconds + 30), Some(seconds / 30), "a clock that is late");
            assert_eq!(step_of(secret, code, seconds + 90), None);
        }
        assert_eq!(step_of(secret, "28708", 59), None);
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
        assert!(totp_uri("a b", secret).starts_with("otpauth://totp/coroner:ab?secret=GEZDGNBV"));
    }
}
