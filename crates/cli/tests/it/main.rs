//! The binary, run as users run it.

mod rig;
mod run;
mod terminal;
