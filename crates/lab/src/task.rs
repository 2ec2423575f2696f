//! What is to be achieved and how it is measured: a task file and what it names.
