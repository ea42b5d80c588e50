#!/usr/bin/env python3
"""Computes once more what every request of a ledger cost:
weir price list --json > prices.json; recompute.py prices.json usage.jsonl"""

import json
import sys
from fractions import Fraction


def price_at(prices, day, hour):
    def covers(begin, end):
        return (hour - begin) % 24 < (end - begin) % 24
    at = [p for p in prices if not p["hours"] or
          covers(*map(int, p["hours"].split("-")))]
    begun = [p for p in at if (p["from"] or "") <= day]
    return max(begun, key=lambda p: (p["from"] or "", bool(p["hours"]))) \
        if begun else min(at, key=lambda p: (p["from"], not p["hours"]))


def cost(line, attempt, prices):
    """In dollars; a price is of a million tokens."""
    own = [p for p in prices if p["upstream"] == attempt["upstream"] and
           line["model"] in p["routes"]]
    if not own or "usage_source" not in attempt:
        return 0  # costs nothing, or did nothing
    p = price_at(own, line["ts"][:10], int(line["ts"][11:13]))
    cached, written = attempt["cached_tokens"], attempt["cache_write_tokens"]
    return Fraction(p["request"]) + (
        (attempt["prompt_tokens"] - cached - written) * Fraction(p["input"])
        + cached * Fraction(p["input_cached"])
        + written * Fraction(p["cache_write"])
        + attempt["completion_tokens"] * Fraction(p["output"])) / 10**6


def check(line, prices):
    """What is wrong with the line's money, or None."""
    due = [cost(line, a, prices) for a in line["attempts"]]
    said = [Fraction(a.get("cost_usd", "0")) for a in line["attempts"]]
    return None if due == said and sum(due) == Fraction(line["cost_usd"]) \
        else f"{line['id']}: {list(map(float, due))}, not {line['cost_usd']}"


if __name__ == "__main__":
    with open(sys.argv[1]) as prices, open(sys.argv[2]) as ledger:
        listed = json.load(prices)["prices"]
        wrong = [x for x in (check(json.loads(line), listed)
                             for line in ledger) if x]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
