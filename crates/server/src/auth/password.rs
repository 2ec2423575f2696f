//! Passwords, kept as argon2id hashes with a salt of their own.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// A password is no shorter, in characters.
const SHORTEST: usize = 8;
/// And no longer, in bytes: what is hashed is what an attacker sends.
const LONGEST: usize = 512;

/// What is held against when nobody has the name, so that the answer takes as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$X7TbSqUnwvs5mxUl+kSkLxcmTUdWMQYtdmVPn5Gh3Ms";

/// The hash of a new password, as a PHC string.
///
/// # Errors
/// In words, if the password will not do.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.chars().count() < SHORTEST {
        return Err(format!("a password has at least {SHORTEST} characters"));
    }
    if password.len() > LONGEST {
        return Err(format!("a password has at most {LONGEST} bytes"));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|e| format!("can't hash it: {e}"))?;
    Ok(hash.to_string())
}

/// Is it the password? Takes as long where there is none.
pub(super) fn verify(password: &str, hash: Option<&str>) -> bool {
    let Ok(kept) = PasswordHash::new(hash.unwrap_or(NOBODY)) else { return false };
    let fits =
        password.len() <= LONGEST && Argon2::default().verify_password(password.as_bytes(), &kept).is_ok();
    fits && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_one_fits_and_no_other() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_password("correct horse").unwrap(), "a salt of its own");
        assert!(verify("correct horse", Some(&hash)));
        assert!(!verify("correct horsf", Some(&hash)));
        assert!(!verify("correct horse", None));
        assert!(!verify("correct horse", Some("no hash")));
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(hash_password("short").is_err() && hash_password(&"x".repeat(600)).is_err());
    }
}
