//! A real small model; see scripts/local-model.sh.
