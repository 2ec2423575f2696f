//! x
pub(crate) fn listen(_: &mut rusqlite::Connection) {}
