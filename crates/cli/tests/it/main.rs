//! The binary, run as users run it.
