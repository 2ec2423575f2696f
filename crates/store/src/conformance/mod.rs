//! x
pub(crate) mod plans;
