//! Where large logs of a store in DynamoDB go: `s3://BUCKET/PREFIX`, or nowhere but this machine.

use crate::Error;

/// A bucket, and what the names of our objects in it begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    /// The bucket's name.
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

impl std::str::FromStr for LogPlace {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let bad = |why| Err(Error::LogPlace { url: url.to_owned(), why });
        let Some(rest) = url.strip_prefix("s3://") else { return bad("only s3:// is known") };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let of_bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        let of_prefix = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | '=');
        match bucket.len() {
            3..=63 if bucket.chars().all(of_bucket) => {}
            _ => return bad("a bucket's name has 3 to 63 small letters, digits, `.` and `-`"),
        }
        let parts = || prefix.split('/');
        if prefix.len() > 200 || !prefix.chars().all(of_prefix) || parts().any(|it| matches!(it, "." | ".."))
        {
            return bad("the prefix has at most 200 letters, digits, `/`, `_`, `.`, `-` and `=`");
        }
        if prefix.contains("//") {
            return bad("the prefix has an empty part");
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl std::fmt::Display for LogPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.bucket),
            prefix => write!(f, "s3://{}/{prefix}", self.bucket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, shown) in [
            ("s3://coroner-logs", "s3://coroner-logs"),
            ("s3://coroner-logs/", "s3://coroner-logs"),
            ("s3://coroner-logs/lab/a=1/", "s3://coroner-logs/lab/a=1"),
        ] {
            assert_eq!(url.parse::<LogPlace>().unwrap().to_string(), shown);
        }
        for url in [
            "",
            "coroner-logs",
            "s3://",
            "s3://ab",
            "s3://A-B-C",
            "s3://logs/a b",
            "s3://logs/a//b",
            "s3://logs/../x",
        ] {
            assert!(matches!(url.parse::<LogPlace>(), Err(Error::LogPlace { .. })), "{url}");
        }
    }
}
