//! The binary `coroner`.

fn main() {}
