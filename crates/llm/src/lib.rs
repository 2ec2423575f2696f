//! Asks a model: providers, retries, budget, scripted replies.
