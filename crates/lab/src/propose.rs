//! Where the next candidate comes from: a language model, or a search of our own.
