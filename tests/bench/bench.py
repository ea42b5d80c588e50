#!/usr/bin/env python3
"""Compares weir with plain reverse proxies on this machine.

Starts a mock model server, the proxies and the load generator on loopback,
and runs the same works through each proxy in turn.  README.md beside this
file says what the figures mean.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from procs import Failed, Program
from proxies import PROXIES, accepts, free_port
from tables import markdown_tables, text_tables

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
STREAM_LEVELS = (1000, 5000)
FULL_CPU = 0.9  # of a processor: from here on it is the limit


def all_works(paced_streams):
    """name -> title and the load generator's options."""
    def plain(title, size, connections):
        return {"title": title, "args": [
            "--connections", connections, "--body-bytes", size,
            "--body-extra", '"mock":"size=700"']}

    def streamed(title, mock, events, *args):
        return {"title": title, "args": [
            "--stream", "--body-bytes", 1024, "--expect-events", events,
            "--body-extra", f'"mock":"{mock}"', *args]}

    return {
        "single": plain("JSON 1 KB, one connection", 1024, 1),
        "json1k": plain("JSON 1 KB, 32 connections", 1024, 32),
        "json10k": plain("JSON 10 KB, 32 connections", 10 * 1024, 32),
        "json400k": plain("JSON 400 KB, 8 connections", 400 * 1024, 8),
        "burst": streamed("SSE, 200 events at once, 32 connections",
                          "tokens=200", 200, "--connections", 32),
        "paced": streamed(
            f"SSE, an event each 20 ms, {paced_streams:,} streams",
            "tokens=100,interval=20", 100, "--connections", paced_streams,
            "--interval", 20, "--ramp", 2, "--warmup", 2.5),
    }


class Bench:
    """What all runs share: options, processors, the mock."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.bin_dir = os.path.abspath(options.bin_dir)
        self.mock_argv = options.mock.split() if options.mock else [
            os.path.join(self.bin_dir, "weir-mock"), "--threads", "1",
            "--no-log", "--die-with-parent"]
        self.load = options.load or os.path.join(self.bin_dir, "weir-load")
        cpus = sorted(os.sched_getaffinity(0))
        self.proxy_cpu = cpus[0]
        self.driver_cpu = cpus[1] if len(cpus) > 1 else cpus[0]
        self.file_limit = raise_file_limit()
        self.mock = None
        self.mock_port = free_port()
        self.starts = 0

    def check_programs(self):
        """Fails early, and names what is not there."""
        needed = ["taskset", self.mock_argv[0], self.load] + [
            PROXIES[name].binary(self) for name in self.options.proxies]
        missing = [p for p in needed if p and not shutil.which(p)]
        if missing:
            raise Failed("not found: " + ", ".join(missing)
                         + " (tests/bench/run.sh builds and installs)")

    def start_mock(self, stack):
        self.mock = Program(
            "mock", self.mock_argv + [
                "--listen", f"127.0.0.1:{self.mock_port}",
                "--set", "tokens=16"],
            self.folder, self.driver_cpu)
        stack.callback(self.mock.stop)
        self.mock.wait_until(lambda: accepts(self.mock_port), "listening")

    def start_proxy(self, name, stack):
        """Starts a fresh one, in a folder of its own."""
        self.starts += 1
        proxy = PROXIES[name](
            self, os.path.join(self.folder, f"{name}-{self.starts}"))
        stack.callback(proxy.stop)
        proxy.start()
        return proxy

    def load_argv(self, proxy, *args):
        return [self.load, "--target", f"127.0.0.1:{proxy.port}",
                "--key", proxy.key] + [str(a) for a in args]

    def run_load(self, proxy, args, seconds):
        """One run of one work; returns its figures."""
        argv = self.load_argv(proxy, "--duration", seconds, "--warmup", 0.5,
                              *args)
        ledger = proxy.ledger_lines()
        before = self.cpu_seconds(proxy)
        begun = time.monotonic()
        done = subprocess.run(
            ["taskset", "-c", str(self.driver_cpu)] + argv,
            stdout=subprocess.PIPE, text=True, check=False,
            timeout=seconds + 120)
        took = time.monotonic() - begun
        after = self.cpu_seconds(proxy)
        if not done.stdout:
            raise Failed(f"weir-load ended with {done.returncode}")
        raw = json.loads(done.stdout)
        proxy_cpu = after[0] - before[0]
        driver_cpu = after[1] - before[1] + raw["own_cpu_seconds"]
        figures = figures_of(raw, proxy_cpu if proxy.program else None)
        figures["proxy_busy"] = proxy_cpu / took
        figures["driver_busy"] = driver_cpu / took
        figures["errors"] = {k: n for k, n in raw["errors"].items() if n}
        figures["bad_status"] = raw["bad_status"]
        if ledger is not None:
            wanted = ledger + raw["requests_all"]
            figures["ledger_off"] = proxy.wait_for_ledger(wanted) - wanted
        return figures

    def cpu_seconds(self, proxy):
        return (proxy.program.cpu_seconds() if proxy.program else 0.0,
                self.mock.cpu_seconds())


def figures_of(raw, proxy_cpu):
    """The figures of one run, by the names of tables.FIGURES."""
    out = {"rps": raw["requests_per_second"],
           "events_per_second":
               raw["events"] / raw["seconds"] if raw["seconds"] else 0.0}
    for ours, theirs in (("latency", "latency_us"),
                         ("first_byte", "first_byte_us"),
                         ("delay", "chunk_delay_us")):
        if raw[theirs]["count"]:
            out[ours + "_p50"] = raw[theirs]["p50"]
            out[ours + "_p99"] = raw[theirs]["p99"]
    if proxy_cpu is not None and raw["requests_all"]:
        out["cpu_request"] = proxy_cpu / raw["requests_all"] * 1e6
    if proxy_cpu is not None and raw["events_all"]:
        out["cpu_event"] = proxy_cpu / raw["events_all"] * 1e6
    return out


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def median_of(runs):
    """The median of each figure over the rounds."""
    names = {k for r in runs for k, v in r.items() if isinstance(v, float)}
    return {k: statistics.median(r[k] for r in runs if k in r)
            for k in names}


def ratios_of(runs, base_runs):
    """The median over the rounds of each figure's ratio to the base's."""
    out = {}
    for name in median_of(runs):
        pairs = [r[name] / b[name] for r, b in zip(runs, base_runs)
                 if r.get(name) is not None and b.get(name)]
        if pairs:
            out[name] = statistics.median(pairs)
    return out


def run_work(bench, work, proxies, title):
    """Alternates the proxies; the order rotates from round to round."""
    rounds = {name: [] for name in proxies}
    names = list(proxies)
    for i in range(bench.options.rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            say(f"{title}: round {i + 1}, {name}")
            rounds[name].append(bench.run_load(
                proxies[name], work["args"], bench.options.seconds))
    out = {"title": title, "rounds": rounds,
           "median": {n: median_of(r) for n, r in rounds.items()}}
    if "nginx" in rounds:
        out["ratio"] = {n: ratios_of(r, rounds["nginx"])
                        for n, r in rounds.items()
                        if n not in ("nginx", "direct")}
    out["notes"] = [note for n, runs in rounds.items()
                    for note in notes_of(n, runs)] + limit_notes(rounds)
    return out


def notes_of(name, runs):
    """What a reader must know before believing a proxy's figures."""
    errors = {}
    for run in runs:
        for kind, n in run["errors"].items():
            errors[kind] = errors.get(kind, 0) + n
    status = max(run["bad_status"] for run in runs)
    if errors:
        yield (f"{name}: ERRORS {errors}"
               + (f", status {status}" if status else ""))
    off = [run["ledger_off"] for run in runs if run.get("ledger_off")]
    if off:
        yield (f"{name}: LEDGER differs from the completed requests by "
               + ", ".join(f"{n:+d}" for n in off))


def limit_notes(rounds):
    """Where not the proxy but this side of the benchmark was the limit."""
    busy = {n: statistics.median(run["driver_busy"] for run in runs)
            for n, runs in rounds.items()}
    full = [f"{n} {b:.0%}" for n, b in busy.items() if b >= FULL_CPU]
    if not full:
        return []
    return ["load generator and mock had no processor time left ("
            + ", ".join(full) + "): there the rates and delays are theirs, "
            "while the proxy's processor time holds"]


def measure_memory(bench, name):
    """At rest and with open streams, each level on a fresh instance."""
    out = {"levels": {}}
    for level in (0,) + STREAM_LEVELS:
        if level * 2 + 100 > bench.file_limit:
            say(f"memory: {level} streams need more open files than allowed")
            continue
        say(f"memory: {name}, {level} streams")
        with contextlib.ExitStack() as stack:
            proxy = bench.start_proxy(name, stack)
            if level:
                out["levels"][level] = with_streams(bench, proxy, level,
                                                    stack)
            else:
                out["ready_ms"] = proxy.ready_seconds * 1000
                out["levels"][0] = settled_memory(proxy)
    rest = out["levels"][0]["pss"]
    out["per_stream"] = {n: (m["pss"] - rest) / n
                         for n, m in out["levels"].items() if n}
    return out


def with_streams(bench, proxy, level, stack):
    """Memory while `level` streams run, each with an event a second."""
    load = Program("load", bench.load_argv(
        proxy, "--open-only", "--connections", level, "--ramp", level / 1000,
        "--duration", 120, "--body-bytes", 1024,
        "--body-extra", '"mock":"tokens=100000,interval=1000"'),
        bench.folder, bench.driver_cpu, pipe=True)
    stack.callback(load.stop)
    raw = json.loads(load.popen.stdout.readline() or "{}")
    if raw.get("errors_all", 1):
        raise Failed(f"{proxy.name}: {level} streams could not be opened: "
                     f"{raw.get('errors')}")
    return settled_memory(proxy)


def settled_memory(proxy):
    """Looks twice a second until two looks differ by less than 1 %."""
    last = proxy.program.memory_bytes()
    for _ in range(20):
        time.sleep(0.5)
        now = proxy.program.memory_bytes()
        if abs(now[0] - last[0]) <= last[0] * 0.01:
            break
        last = now
    return {"pss": now[0], "rss": now[1]}


def machine(bench):
    """What the figures were taken on."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"processor": model, "processors": os.cpu_count(),
            "kernel": os.uname().release,
            "is_shared": bench.proxy_cpu == bench.driver_cpu,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {n: version_of(n) for n in ("nginx", "haproxy")}}


def version_of(program):
    """What `program -v` says on its first line, in either stream."""
    if not shutil.which(program):
        return None
    done = subprocess.run([program, "-v"], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, check=False)
    return done.stdout.splitlines()[0] if done.stdout else None


def say(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def run_all(options, folder):
    """Returns everything that was measured."""
    bench = Bench(options, folder)
    bench.check_programs()
    results = {"machine": machine(bench), "rounds": options.rounds,
               "seconds": options.seconds, "works": {}, "memory": {}}
    works = all_works(options.streams)
    with contextlib.ExitStack() as stack:
        bench.start_mock(stack)
        with contextlib.ExitStack() as running:
            proxies = {n: bench.start_proxy(n, running)
                       for n in options.proxies}
            for name in (n for n in options.only if n in works):
                results["works"][name] = run_work(
                    bench, works[name], proxies, works[name]["title"])
        if "memory" in options.only:
            for name in (n for n in options.proxies if n != "direct"):
                results["memory"][name] = measure_memory(bench, name)
    return results


def names_of(text, known, parser, what):
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"no {what} {name!r}; there are: {', '.join(known)}")
    return names


def read_options():
    p = argparse.ArgumentParser(
        description="Compares weir with plain reverse proxies.")
    known = list(all_works(0)) + ["memory"]
    p.add_argument("--bin-dir", default=os.path.join(ROOT, "build/release"),
                   help="where weir, weir-mock and weir-load are")
    p.add_argument("--mock", help="another mock's command line")
    p.add_argument("--load", help="another weir-load")
    p.add_argument("--proxies", default="direct,nginx,haproxy,weir",
                   help="which, by commas [%(default)s]")
    p.add_argument("--only", default=",".join(known),
                   help="which works, by commas [%(default)s]")
    p.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    p.add_argument("--seconds", type=float, default=5.0,
                   help="measured in each run [%(default)s]")
    p.add_argument("--streams", type=int, default=1000,
                   help="streams of the paced work [%(default)s]")
    p.add_argument("--quick", action="store_true", help="one short round")
    p.add_argument("--markdown", action="store_true",
                   help="print the tables for the README")
    p.add_argument("--output", default=os.path.join(
        ROOT, "build/bench/results.json"), help="[%(default)s]")
    options = p.parse_args()
    options.only = names_of(options.only, known, p, "work")
    options.proxies = names_of(options.proxies, list(PROXIES), p, "proxy")
    if options.quick:
        options.rounds, options.seconds = 1, 1.5
    if options.rounds < 1 or options.seconds <= 0 or options.streams < 1:
        p.error("rounds, seconds and streams must be positive")
    return options


def on_terminate(_signal, _frame):
    raise KeyboardInterrupt


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, on_terminate)
    folder = tempfile.mkdtemp(prefix="weir-bench-")
    try:
        results = run_all(options, folder)
    except Failed as why:
        say("")
        print(f"bench: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("")
        print("bench: stopped", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say("")
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    with open(options.output, "w") as out:
        json.dump(results, out, indent=1)
    print(markdown_tables(results) if options.markdown
          else text_tables(results))
    bad = [n for w in results["works"].values() for n in w["notes"]
           if "ERRORS" in n or "LEDGER" in n]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
