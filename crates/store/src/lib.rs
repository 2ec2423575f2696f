//! Keeps experiments and diagnoses: SQLite here.
