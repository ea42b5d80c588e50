#!/usr/bin/env python3
"""Measures how long a quiet user waits beside a noisy one.

    tests/bench/fairness.py [--service-ms N] [--requests N] [--noisy N]
                            [--slots N] [--bin-dir FOLDER]

The model server works on a few requests at once.  One user has many under way
all the time; another asks one after the other.  Once both are sent straight to
the server, which takes them as they come, and once through weir, which holds
max_inflight at the server's slots and lets users take turns.  A wait is what a
request took beyond the time that the server works on it.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

# pylint: disable=wrong-import-position
from harness import Gateway, Mock, basic_config, chat_body, post, wait_until
from load import Load
from wire import Conn

QUIET, NOISY = "bob", "alice"


class TimedLoad(Load):
    """Notes how long each answer took."""

    def __init__(self, *args):
        self.times = []
        super().__init__(*args)

    def ask(self, conn):
        now = time.monotonic()
        if "begun" in conn:
            self.times.append(now - conn["begun"])
        conn["begun"] = now
        super().ask(conn)


def ask_quietly(port, key, directives, count):
    """Seconds that each of so many requests took, one after the other."""
    times = []
    for _ in range(count):
        begun = time.monotonic()
        with Conn(port, ["POST"]) as conn:
            conn.send(post(chat_body(directives), key))
            reply = conn.reply(600)
        assert reply.status == 200, reply
        times.append(time.monotonic() - begun)
    return times


def run(options, mock, port, keys, has_noise=True):
    """(the quiet user's times, the noisy one's, answers a second)."""
    directives = f"tokens=1,ttft={options.service_ms}"
    mock.reset()
    if not has_noise:
        return ask_quietly(port, keys[QUIET], directives,
                           options.requests), [], None
    load = TimedLoad(port, keys[NOISY], "noisy", options.noisy,
                     lambda _: (directives, {}))
    try:
        # Until the queue is as long as it will be.
        wait_until(lambda: mock.stats()["served"] >= 2 * options.noisy,
                   600, "the noise")
        before, begun = mock.stats()["answers_finished"], time.monotonic()
        load.times.clear()
        quiet = ask_quietly(port, keys[QUIET], directives, options.requests)
        wait_until(lambda: load.times, 600, "an answer to the noise")
        rate = (mock.stats()["answers_finished"] - before) / \
            (time.monotonic() - begun)
    finally:
        load.stop()
    mock.wait_stats(600, in_flight=0)
    return quiet, load.times, rate


def row(name, options, quiet, noisy, rate):
    service = options.service_ms / 1000

    def cell(times, how):
        if not times:
            return "-"
        wait = max(how(times) - service, 0)
        return f"{wait * 1000:,.0f} ms ({wait / service:.1f}x)"

    def p95(times):
        return sorted(times)[int(len(times) * 0.95)]
    return (f"| {name} | {cell(quiet, statistics.median)} | "
            f"{cell(quiet, p95)} | {cell(noisy, statistics.median)} | "
            f"{'-' if rate is None else format(rate, '.1f')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--service-ms", type=int, default=200)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--noisy", type=int, default=50)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--bin-dir", type=pathlib.Path,
                        default=ROOT / "build" / "release")
    options = parser.parse_args()
    os.environ["WEIR_BIN_DIR"] = str(options.bin_dir)
    mock = Mock("server", "--set", f"slots={options.slots}")
    config = basic_config(mock)
    config["upstreams"]["mock"] |= {
        "max_inflight": options.slots,
        "queue": {"size": 2 * options.noisy, "wait": "1h"}}
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(config, folder)
        nobody = {QUIET: "-", NOISY: "-"}
        rows = [
            row(name, options, *run(options, mock, port, keys, has_noise))
            for name, port, keys, has_noise in (
                ("the quiet user alone", gateway.port, gateway.keys, False),
                ("both, straight at the server", mock.port, nobody, True),
                ("both, through weir", gateway.port, gateway.keys, True))]
        gateway.stop()
    mock.stop()
    print(f"A server with {options.slots} slots, {options.service_ms} ms a "
          f"request; the noisy user has {options.noisy} under way,\nthe quiet "
          f"one asks {options.requests} times.  Waits, also in service "
          "times.\n")
    print("| | quiet user's wait | its 95th percentile | noisy user's wait | "
          "answers/s |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
