#!/usr/bin/env python3
"""What Coroner costs on AWS in a month, from prices, from what each operation takes (docs/dynamodb.md) and from how it is used.

Prints the table of docs/deploy.md; a test holds the two against each other. Usage: deploy/costs.py [FAILURES...]
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# US dollars, list prices of US East (N. Virginia), without any free tier. Where each was read, and of when that page is.
PRICES = {
    "write unit": 0.625e-6,  # DynamoDB on demand; airbyte.com/data-engineering-resources/dynamodb-pricing, 2025-07
    "read unit": 0.125e-6,  # the same
    "table GB": 0.25,  # a month; aws.amazon.com/dynamodb/pricing
    "backup GB": 0.20,  # a month, point-in-time recovery; from memory, not read again
    "bucket GB": 0.023,  # a month, S3 Standard; from memory, not read again
    "put": 0.005e-3,  # S3, lists too; dev.to/sh20raj/aws-s3-pricing-for-beginners, 2024
    "get": 0.0004e-3,  # S3; the same
    "function GB s": 0.0000133334,  # Lambda, arm64; cloudchipr.com/blog/aws-lambda-pricing, 2024
    "call": 0.20e-6,  # Lambda; the same
    "edge request": 0.01e-4,  # CloudFront, HTTPS; kindatechnical.com, lesson 87, 2025
    "edge GB": 0.085,  # CloudFront, first 10 TB; the same
    "message": 0.40e-6,  # SQS; from memory, not read again
    "secret": 0.40,  # a month; aws.amazon.com/secrets-manager/pricing, by api-evangelist, 2026-09-20
    "secret call": 0.05e-4,  # the same
    "alarm": 0.10,  # CloudWatch, a month; from memory, not read again
    "log GB": 0.50,  # CloudWatch Logs, taken in; from memory, not read again
}

# How it is used.
FAIL = 0.3  # of all experiments, as `coroner bench fill` has it
EXPERIMENT_KB = 5.2  # with what finds it; `coroner bench keys`
LOG_KB = 2.0  # compressed, of one that failed; kept in the table
LARGE = 0.01  # of the logs of failures are too large for the table
LARGE_KB = 200.0  # compressed
READ = 0.5  # of these are read, once
LISTED = 1_000  # objects in one answer, when a clean-up looks for strays every day
LOG_MONTHS, EXPERIMENT_MONTHS = 3, 24  # retention
PAGES = {1_000: 2_000, 100_000: 20_000, 10_000_000: 100_000}  # looked at in a month
PAGE_READS = 40  # units of a page of 50, with its totals
REQUESTS = 3  # of each page, those for files that are kept among them
PAGE_KB = 12  # packed
MEMORY_GB, PAGE_SECONDS, REPORT_SECONDS = 0.5, 0.06, 0.12
ALARMS = 5
TIMES, TIMER_READS, TIMER_SECONDS = 30 * 24 * 60, 12, 0.06  # a timer has the function look for what is to be done
LINE_KB = 0.5  # of the function's log, for each call

MILLION = 1_000_000


def units():
    """Units of each operation, as the suite counted them."""
    text = (ROOT / "docs/dynamodb.md").read_text()
    table = text.split("<!-- costs -->")[1].split("<!-- /costs -->")[0]
    return {name: int(count) for name, count in re.findall(r"^\| ([^|]+?) \| \d+ \| (\d+) \|$", table, re.M)}


def pages(failures):
    """Looked at in a month: as many as the nearest size below has."""
    return PAGES[max((size for size in PAGES if size <= failures), default=min(PAGES))]


def month(failures, every_run):
    """Lines of the bill: of failures alone, reported over HTTP, or of every run, written by its host."""
    takes = units()
    experiments = failures / FAIL if every_run else failures
    begin, end = takes["begin"], takes["end, with a log and a diagnosis of a known cause"]
    writes = experiments * (begin + end) if every_run else failures * takes["a failure that others report"]
    views = pages(failures)
    asked = views * REQUESTS + (0 if every_run else failures)
    calls = asked + TIMES
    seconds = (views * REQUESTS * PAGE_SECONDS + TIMES * TIMER_SECONDS
               + (0 if every_run else failures * REPORT_SECONDS))
    logs = failures * (1 - LARGE) * LOG_KB * LOG_MONTHS / MILLION
    first = experiments * EXPERIMENT_KB / MILLION + logs / LOG_MONTHS
    later = experiments * EXPERIMENT_KB * EXPERIMENT_MONTHS / MILLION + logs
    kept = PRICES["table GB"] + PRICES["backup GB"]
    large = failures * LARGE
    return {
        "table: writing": writes * PRICES["write unit"],
        "table: reading": (views * PAGE_READS + TIMES * TIMER_READS) * PRICES["read unit"],
        "table: kept, first month": first * kept,
        "bucket": large * (PRICES["put"] + READ * PRICES["get"]) + 30 * (1 + large * LOG_MONTHS / LISTED) * PRICES["put"]
        + large * LARGE_KB * LOG_MONTHS / MILLION * PRICES["bucket GB"],
        "function": calls * PRICES["call"] + seconds * MEMORY_GB * PRICES["function GB s"]
        + calls * LINE_KB / MILLION * PRICES["log GB"],
        "distribution": asked * PRICES["edge request"] + views * PAGE_KB / MILLION * PRICES["edge GB"],
        "secret and alarms": PRICES["secret"] + 30 * 24 * 12 * PRICES["secret call"] + ALARMS * PRICES["alarm"],
        "all": None,
        "all, after two years": (later - first) * kept,
    }


def bill(sizes, every_run):
    months = [month(size, every_run) for size in sizes]
    for it in months:
        it["all"] = sum(value for name, value in it.items() if value and not name.startswith("all"))
        it["all, after two years"] += it["all"]
    rows = ["| $ a month, failures a month: | " + " | ".join(f"{size:,}" for size in sizes) + " |"]
    rows.append("|---|" + "--:|" * len(sizes))
    for name in months[0]:
        mark = "**" if name.startswith("all") else ""
        rows.append(f"| {mark}{name}{mark} | " + " | ".join(f"{mark}{it[name]:,.2f}{mark}" for it in months) + " |")
    return "\n".join(rows)


def main():
    words = [word.replace(",", "") for word in sys.argv[1:]]
    wrong = [word for word in words if not (word.isascii() and word.isdigit() and int(word) > 0)]
    if wrong:
        sys.exit(f"costs.py: `{wrong[0]}` is no number of failures; usage: deploy/costs.py [FAILURES...], such as 50000")
    sizes = [int(word) for word in words] or list(PAGES)
    print("Failures alone, reported to the desk over HTTP:\n")
    print(bill(sizes, every_run=False))
    print(f"\nEvery run kept by the host that ran it, of which {FAIL:.0%} fail:\n")
    print(bill(sizes, every_run=True))


if __name__ == "__main__":
    main()
