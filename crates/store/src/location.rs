//! Where experiments are kept, by URL: `sqlite:PATH` here, `dynamodb:TABLE` in builds that have it.

use std::path::PathBuf;

use crate::Error;

/// A store's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A database file on this machine.
    Sqlite(PathBuf),
    /// A table of DynamoDB, wherever the AWS configuration says.
    DynamoDb(String),
}

impl std::str::FromStr for Location {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let bad = |why| Err(Error::Url { url: url.to_owned(), why });
        let Some((scheme, rest)) = url.split_once(':') else {
            return bad("it has no scheme before a colon");
        };
        match scheme {
            "sqlite" => {
                // the URL form with an authority, sqlite:///a/b.db, is what some people type
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path {
                    "" => bad("the path is missing"),
                    _ if path.starts_with("~/") => bad("`~` is the shell's and can't be used here"),
                    _ if path.contains('\0') => bad("the path has a NUL in it"),
                    _ if path.ends_with('/') => bad("the path is a folder; name a file in it"),
                    _ => Ok(Self::Sqlite(PathBuf::from(path))),
                }
            }
            "dynamodb" => {
                let may = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
                match rest.len() {
                    3..=255 if rest.chars().all(may) => Ok(Self::DynamoDb(rest.to_owned())),
                    _ => bad("a table's name has 3 to 255 letters, digits, `_`, `.` and `-`"),
                }
            }
            _ => bad("only sqlite: and dynamodb: are known"),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::DynamoDb(table) => write!(f, "dynamodb:{table}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, path) in [
            ("sqlite:lab.db", "lab.db"),
            ("sqlite:/var/lib/c.db", "/var/lib/c.db"),
            ("sqlite:///var/lib/c.db", "/var/lib/c.db"),
            ("sqlite:with:colon.db", "with:colon.db"),
        ] {
            assert_eq!(url.parse::<Location>().unwrap(), Location::Sqlite(path.into()), "{url}");
        }
        for url in
            ["", "lab.db", "sqlite:", "sqlite://", "sqlite:~/c.db", "sqlite:dir/", "postgres:x", "SQLITE:x"]
        {
            assert!(matches!(url.parse::<Location>(), Err(Error::Url { .. })), "{url}");
        }
        let table = "dynamodb:coroner-lab_1.x".parse::<Location>().unwrap();
        assert_eq!(table, Location::DynamoDb("coroner-lab_1.x".into()));
        assert_eq!(table.to_string(), "dynamodb:coroner-lab_1.x");
        for url in ["dynamodb:", "dynamodb:ab", "dynamodb:a table", "dynamodb://table", "dynamodb:täble"] {
            assert!(matches!(url.parse::<Location>(), Err(Error::Url { .. })), "{url}");
        }
    }
}
