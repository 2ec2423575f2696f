//! What the core promises, seen from outside.

mod rules;
mod specimens;
mod whole;
