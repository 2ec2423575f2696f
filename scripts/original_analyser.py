#!/usr/bin/env python3
"""The analyser that Coroner takes after, as its description tells it, for scripts/bench to compare with.

Written by us from that description: the whole log as one string, a prompt of its last 3,000 characters and of the
first 1,000 of the code, and, without a model, a few substrings. Its mistakes are kept; they are measured too.

    original_analyser.py LOG            the log's diagnosis as JSON
    original_analyser.py --batch FILE   JSON lines in (error_message, logs, code_snippet), one diagnosis a line out
"""

import json
import sys

PROMPT = """Analyze this experiment failure and provide a concise diagnosis.

Experiment: {experiment_id}
Type: {experiment_type}

Error:
{error}

Logs:
{logs}

Code:
{code}

Provide a diagnosis in this EXACT JSON format:
{{"failure_category": "syntax_error|import_error|validation_error|runtime_error|timeout|resource_error|logic_error",
"root_cause": "...", "fix_suggestion": "...", "severity": "critical|high|medium|low"}}

Only respond with the JSON."""


def prompt(experiment_id, experiment_type, error, logs, code):
    if len(logs) > 3000:
        logs = "...[truncated]...\n" + logs[-3000:]
    return PROMPT.format(experiment_id=experiment_id, experiment_type=experiment_type, error=error, logs=logs,
                         code=(code or "")[:1000])


def fallback(error, logs):
    """What it says when no model answers: the first pattern that is found."""
    error_lower, logs_lower = error.lower(), logs.lower()

    def said(category, cause, fix, severity):
        return {"failure_category": category, "root_cause": cause, "fix_suggestion": fix, "severity": severity}

    if "forbidden import" in error_lower or "forbidden attribute" in error_lower:
        return said("validation_error", f"Code validation failed due to security restrictions: {error[:100]}",
                    "Use only allowed libraries", "high")
    if "syntaxerror" in error_lower or "indentationerror" in error_lower:
        return said("syntax_error", "Generated code has syntax errors", "Fix the syntax", "high")
    if "importerror" in error_lower or "modulenotfounderror" in error_lower:
        return said("import_error", "Missing or unavailable module", "Install the module or remove the import", "high")
    if "timeout" in error_lower or "exceeded" in logs_lower:
        return said("timeout", "Execution exceeded the time limit", "Optimise the code", "medium")
    if "memoryerror" in error_lower or "out of memory" in logs_lower:
        return said("resource_error", "Insufficient memory", "Reduce memory usage", "high")
    if "not better than" in logs_lower or "not adopted" in logs_lower:
        return said("logic_error", "Performance not better than the current implementation",
                    "Try a different approach", "low")
    return said("runtime_error", f"Execution failed: {error[:100]}", "Review the logs", "medium")


def analyse(failure):
    error, logs = failure.get("error_message") or "", failure.get("logs") or ""
    prompt(failure.get("experiment_id", ""), failure.get("experiment_type", ""), error, logs, failure.get("code_snippet"))
    return fallback(error, logs)


def main():
    if sys.argv[1] == "--batch":
        with open(sys.argv[2]) as batch:
            for line in batch:
                print(json.dumps(analyse(json.loads(line))))
        return
    with open(sys.argv[1], errors="replace") as log:
        print(json.dumps(analyse({"logs": log.read()}), indent=2))


if __name__ == "__main__":
    main()
