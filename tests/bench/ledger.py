#!/usr/bin/env python3
"""Measures what reads the ledger: how fast, beside the usual tools.

    tests/bench/ledger.py [--lines N] [--folder DIR] [--only NAME,...]

Makes a ledger with weir-ledger-make, once, and keeps it in the folder.  Each
figure is the best of a few rounds: whatever disturbs one only makes it
slower.
"""

import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = 3


def say(text):
    print(text, flush=True)


class Ledger:
    """The made ledger: as the current file, closed, and gzipped."""

    def __init__(self, folder, lines, bin_dir):
        self.folder = folder / f"ledger-{lines}"
        self.bin_dir = bin_dir
        self.lines = lines
        self.plain = self.folder / "plain" / "usage.jsonl"
        self.closed = self.folder / "closed" / "usage.jsonl.1"
        self.packed = self.folder / "packed" / "usage.jsonl.1.gz"

    def make(self):
        self.plain.parent.mkdir(parents=True, exist_ok=True)
        if not self.plain.exists():
            making = self.plain.with_suffix(".making")
            run([self.bin_dir / "weir-ledger-make", str(self.lines), making])
            making.rename(self.plain)

    def close(self):
        """Makes the closed ones, which takes long."""
        for path in self.closed, self.packed:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not self.closed.exists():
            os.link(self.plain, self.closed)
        if not self.packed.exists():
            making = self.packed.with_suffix(".making")
            with open(making, "wb") as out:
                run(["gzip", "-c", self.plain], stdout=out)
            making.rename(self.packed)
        # Reports read the folder of the file that is named.
        for path in self.closed, self.packed:
            (path.parent / "usage.jsonl").touch()

    def first(self, lines):
        """The beginning of it, as one of its own."""
        if lines == self.lines:
            return self
        part = Ledger(self.folder, lines, self.bin_dir)
        part.plain.parent.mkdir(parents=True, exist_ok=True)
        with open(part.plain, "wb") as out:
            run(["head", "-n", str(lines), self.plain], stdout=out)
        return part

    @property
    def megabytes(self):
        return self.plain.stat().st_size / 1e6


def run(argv, stdout=subprocess.DEVNULL):
    """Runs it and returns its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdout=stdout,
                   stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(argv):
    run(argv)  # brings the file into memory
    return min(run(argv) for _ in range(ROUNDS))


def show(ledger, name, argv):
    seconds = best(argv)
    say(f"{name:34} {seconds:8.2f} s {ledger.megabytes / seconds:8.0f} MB/s "
        f"{ledger.lines / seconds / 1e6:6.2f} M lines/s")
    return seconds


def bench_check(ledger):
    """`weir ledger check`, beside what gzip alone takes; in processor seconds
    (user and system)."""
    ledger.close()
    say(f"gzipped: {ledger.packed.stat().st_size / 1e6:,.0f} MB")
    weir = [ledger.bin_dir / "weir", "ledger", "check", "--ledger"]
    show(ledger, "check, current file", [*weir, ledger.plain])
    show(ledger, "check, closed file (hashed)",
         [*weir, ledger.closed.with_name("usage.jsonl")])
    gzip = show(ledger, "gzip -dc", ["gzip", "-dc", ledger.packed])
    check = show(ledger, "check, gzipped file",
                 [*weir, ledger.packed.with_name("usage.jsonl")])
    say(f"{'':34} {gzip / check:.2f} x the speed of gzip -dc")


# --- reports -----------------------------------------------------------------

JQ_LINES_MOST = 1_000_000
JQ = """reduce inputs as $l ({}; ($l.ts[:10] + " " + $l.model) as $k
  | .[$k] |= {n: (.n + 1), i: (.i + $l.prompt_tokens),
              o: (.o + $l.completion_tokens),
              c: (.c + ($l.cost_usd | tonumber))})"""

DUCKDB = """
import duckdb, sys
duckdb.sql(\"\"\"SELECT ts[:10], model, count(*), sum(prompt_tokens),
  sum(cached_tokens), sum(completion_tokens),
  sum(cost_usd::DECIMAL(38,12)), sum(avoided_usd::DECIMAL(38,12)),
  quantile_disc(ttft_ms, [0.5, 0.95])
  FROM read_json('\"\"\" + sys.argv[1] + \"\"\"', format='newline_delimited',
  columns={ts: 'VARCHAR', model: 'VARCHAR', prompt_tokens: 'BIGINT',
           cached_tokens: 'BIGINT', completion_tokens: 'BIGINT',
           cost_usd: 'VARCHAR', avoided_usd: 'VARCHAR', ttft_ms: 'BIGINT'})
  GROUP BY ALL\"\"\").fetchall()
"""


def watch(argv):
    """Runs it; returns how long it took and the most memory it had."""
    begun = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def show_report(ledger, name, argv, rounds=ROUNDS):
    seen = [watch(argv) for _ in range(rounds)]
    seconds = min(x[0] for x in seen)
    say(f"{name:34} {seconds:8.2f} s {ledger.megabytes / seconds:8.0f} MB/s "
        f"{ledger.lines / seconds / 1e6:6.2f} M lines/s "
        f"{max(x[1] for x in seen):6.0f} MiB")
    return seconds


def find_duckdb(folder):
    """A Python that has duckdb; None where it cannot be had."""
    home = folder / "duckdb"
    python = home / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True,
                           capture_output=True)
        if subprocess.run([python, "-c", "import duckdb"], check=False,
                          capture_output=True).returncode != 0:
            subprocess.run([python, "-m", "pip", "install", "-q", "duckdb"],
                           check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError):
        return None
    return python


def bench_report(ledger):
    """A report by day and model of all lines, from the ledger alone; elapsed
    seconds, on all cores."""
    weir = show_report(ledger, "report --raw", [
        ledger.bin_dir / "weir", "report", "daily", "--since", "2000-01-01",
        "--ledger", ledger.plain])
    if shutil.which("jq") is None:
        say("jq: not installed")
    else:
        # It takes a quarter of an hour for ten million.
        part = ledger.first(min(ledger.lines, JQ_LINES_MOST))
        jq = show_report(part, f"jq, {part.lines:,} lines",
                         ["jq", "-n", JQ, part.plain], 1)
        ratio = (ledger.megabytes / weir) / (part.megabytes / jq)
        say(f"{'':34} {ratio:.1f} x the speed of jq")
    python = find_duckdb(ledger.folder.parent)
    if python is None:
        say("DuckDB: cannot be installed here")
    else:
        duckdb = show_report(ledger, "DuckDB",
                             [python, "-c", DUCKDB, ledger.plain])
        say(f"{'':34} {duckdb / weir:.1f} x the speed of DuckDB")


BENCHES = {"check": bench_check, "report": bench_report}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--folder", type=pathlib.Path,
                        default=ROOT / "build" / "bench")
    parser.add_argument("--bin-dir", type=pathlib.Path,
                        default=ROOT / "build" / "release")
    parser.add_argument("--only", default=",".join(BENCHES))
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = set(names) - set(BENCHES)
    if unknown:
        parser.error(f"there is no {unknown.pop()}: {', '.join(BENCHES)}")
    if shutil.which("gzip") is None:
        sys.exit("gzip is not installed")
    ledger = Ledger(options.folder, options.lines, options.bin_dir)
    ledger.make()
    say(f"{ledger.lines:,} lines, {ledger.megabytes:,.0f} MB; "
        f"best of {ROUNDS}")
    for name in names:
        BENCHES[name](ledger)


if __name__ == "__main__":
    main()
