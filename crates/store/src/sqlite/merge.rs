//! Pages in any order: what fits a query is a few stretches of an index, each in the order that is asked for, and a page is
//! merged from their beginnings. Only as much of each is read as the page needs.

use std::cmp::Ordering;

use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, params_from_iter};

use super::Trouble;
use super::list::Word;

/// Of each stretch so many at first: most of what is read of many stretches is not needed.
const FIRST: usize = 4;

/// By what the experiments of a stretch are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Their keys alone.
    Key,
    /// How long they took; those of which it is known.
    Wall,
    /// Their keys; those of which nobody knows how long they took.
    NoWall,
    /// What was paid for models.
    Cost,
}

/// Experiments that an index holds side by side.
#[derive(Debug, Clone)]
pub(super) enum Stretch {
    /// All of them.
    All,
    /// With these four words.
    Words([Word; 4]),
    /// Of one signature, with these four words.
    Signature(i64, [Word; 4]),
    /// Found by the word search.
    Search(String),
}

/// An experiment and what it is sorted by: 0 where that is its key.
pub(super) type Found = (i64, i64);

/// Where a direction begins.
pub(super) fn start(descending: bool) -> Found {
    if descending { (i64::MAX, i64::MAX) } else { (i64::MIN, i64::MIN) }
}

impl Stretch {
    /// The next ones behind `after`.
    fn read(
        &self,
        conn: &Connection,
        by: By,
        descending: bool,
        after: Found,
        limit: usize,
    ) -> Result<Vec<Found>, Trouble> {
        let than = if descending { "<" } else { ">" };
        let key = if matches!(self, Self::Search(_)) { "rowid" } else { "key" };
        let (value, at) = (after.0, after.1);
        match by {
            By::Key => self.select(conn, "0", &format!("{key} {than} ?"), &[at], descending, limit),
            By::NoWall => {
                self.select(conn, "0", &format!("wall_us IS NULL AND key {than} ?"), &[at], descending, limit)
            }
            By::Wall | By::Cost => {
                let column = if by == By::Wall { "wall_us" } else { "nanodollars" };
                // those with the same value first: SQLite would look for both at once by the value alone, and go through
                // all that have it
                let mut all = match after == start(descending) {
                    true => Vec::new(),
                    false => {
                        let place = format!("{column} = ? AND key {than} ?");
                        self.select(conn, column, &place, &[value, at], descending, limit)?
                    }
                };
                if all.len() < limit {
                    let place = format!("{column} {than} ?");
                    all.extend(self.select(conn, column, &place, &[value], descending, limit - all.len())?);
                }
                Ok(all)
            }
        }
    }

    /// The newest ones, each with what it is sorted by, where that is known.
    pub(super) fn newest(
        &self,
        conn: &Connection,
        by: By,
        limit: usize,
    ) -> Result<Vec<(Option<i64>, i64)>, Trouble> {
        let column = if by == By::Wall { "wall_us" } else { "nanodollars" };
        let sql = match self {
            Self::Search(_) => format!(
                "SELECT e.{column}, s.rowid FROM search s CROSS JOIN experiments e ON e.key = s.rowid
                 WHERE search MATCH ? ORDER BY s.rowid DESC LIMIT ?"
            ),
            Self::Signature(..) => format!(
                "SELECT {column}, key FROM experiments WHERE signature = ? AND status = ? AND category = ?
                   AND severity = ? AND origin = ? ORDER BY key DESC LIMIT ?"
            ),
            Self::All | Self::Words(_) => return Ok(Vec::new()), // these have an index in the order itself
        };
        let mut given = self.given();
        given.push(Value::Integer(limit as i64));
        let mut statement = conn.prepare_cached(&sql)?;
        let given = given.iter().map(|value| value as &dyn ToSql);
        let rows = statement.query_map(params_from_iter(given), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What its filters are bound to.
    fn given(&self) -> Vec<Value> {
        let words =
            |words: &[Word; 4]| words.iter().map(|it| Value::Text(it.to_string())).collect::<Vec<_>>();
        match self {
            Self::All => Vec::new(),
            Self::Words(of) => words(of),
            Self::Signature(id, of) => [vec![Value::Integer(*id)], words(of)].concat(),
            Self::Search(expression) => vec![Value::Text(expression.clone())],
        }
    }

    fn select(
        &self,
        conn: &Connection,
        value: &str,
        place: &str,
        at: &[i64],
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Found>, Trouble> {
        let mut given = self.given();
        let (table, key, filters) = match self {
            Self::All => ("experiments", "key", ""),
            Self::Words(_) => {
                ("experiments", "key", "status = ? AND category = ? AND severity = ? AND origin = ? AND")
            }
            Self::Signature(..) => {
                let filters =
                    "signature = ? AND status = ? AND category = ? AND severity = ? AND origin = ? AND";
                ("experiments", "key", filters)
            }
            Self::Search(_) => ("search", "rowid", "search MATCH ? AND"),
        };
        given.extend(at.iter().map(|at| Value::Integer(*at)));
        given.push(Value::Integer(limit as i64));
        let order = if descending { "DESC" } else { "ASC" };
        let sorted = if value == "0" { String::new() } else { format!("{value} {order}, ") };
        let sql = format!(
            "SELECT {value}, {key} FROM {table} WHERE {filters} {place} ORDER BY {sorted}{key} {order} LIMIT ?"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let given = given.iter().map(|value| value as &dyn ToSql);
        let rows = statement.query_map(params_from_iter(given), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What has been read of a stretch and not been taken yet, the next one last.
struct Open<'a> {
    stretch: &'a Stretch,
    read: Vec<Found>,
    last: Found,
    /// How many to read next; 0: there are no more.
    next: usize,
}

impl Open<'_> {
    fn fill(&mut self, conn: &Connection, by: By, descending: bool) -> Result<(), Trouble> {
        if self.read.is_empty() && self.next > 0 {
            self.read = self.stretch.read(conn, by, descending, self.last, self.next)?;
            self.next = if self.read.len() < self.next { 0 } else { self.next * 2 };
            self.last = self.read.last().copied().unwrap_or(self.last);
            self.read.reverse();
        }
        Ok(())
    }
}

/// The next ones of all stretches together.
pub(super) fn merged(
    conn: &Connection,
    stretches: &[Stretch],
    by: By,
    descending: bool,
    after: Found,
    limit: usize,
) -> Result<Vec<Found>, Trouble> {
    let first = if stretches.len() < 3 { limit } else { FIRST.max(2 * limit / stretches.len()) };
    let mut open = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        let mut it = Open { stretch, read: Vec::new(), last: after, next: first.min(limit) };
        it.fill(conn, by, descending)?;
        if !it.read.is_empty() {
            open.push(it);
        }
    }
    let before = |a: &Found, b: &Found| if descending { b.cmp(a) } else { a.cmp(b) };
    let mut all = Vec::with_capacity(limit);
    while all.len() < limit {
        let heads = open.iter().enumerate().filter_map(|(n, it)| it.read.last().map(|head| (n, *head)));
        let Some((n, head)) = heads.min_by(|(_, a), (_, b)| before(a, b)) else { break };
        debug_assert!(all.last().is_none_or(|last| before(last, &head) != Ordering::Greater));
        all.push(head);
        let it = &mut open[n];
        it.read.pop();
        it.fill(conn, by, descending)?;
    }
    Ok(all)
}
