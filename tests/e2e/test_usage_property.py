"""Some hundred exchanges of every kind at once, with whatever can go wrong with
them; afterwards the ledger has one line for each, and what it did not estimate
is to the token what the servers counted.  WEIR_TEST_SEED repeats a run."""

import contextlib
import os
import random
import threading
import time
from fractions import Fraction

import pytest

from dialects import ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, events
from harness import Mock, basic_config, wait_until
from kinds import KINDS, RERANK, RUNNING, counts, kinds_config
from scripted import closed_port

THREADS = 6
EXCHANGES = 70  # of each thread
PROMPT_MOST = 100_000

EXACT = ("upstream", "running", "timings")

# What else an answer may be; those behind them are for streams alone.
ODD = [
    "status=400", "status=429", "status=500", "status=503,retry_after=1",
    "status=400,fault=error_usage", "fault=no_usage", "fault=zero_usage",
    "damage=negative", "damage=float", "damage=string", "damage=huge",
    "fault=gzip", "fault=gzip_cut", "fault=html", "fault=empty_json",
    "fault=cl_mismatch_long", "head=nolength", "fault=trailers",
    "fault=chunk_ext", "size=1", "size=3", "size=3000", "early=1,ttft=5",
]
ODD_STREAM = [
    "fault=reset_mid,after=3", "fault=reset_mid,after=1,interval=1",
    "fault=close_mid,after=2", "fault=close_mid,after=0",
    "fault=error_mid,after=2", "fault=malformed_sse,after=2",
    "fault=usage_every_chunk", "fault=role_then_close",
    "fault=error_first_event", "fault=empty_stream", "early=2,ttft=5",
]
# What makes the first of two servers fail, so that the second is asked.
FAILING = ["status=429", "status=500", "status=503"]
FAILING_STREAM = ["fault=error_first_event", "fault=role_then_close",
                  "fault=empty_stream"]

SHREDS = [1, 2, 3, 7, 16, 100, 1000, 16384]
MOVES = ["connect", "timeout", "reset", "429", "5xx", "error_event"]
PRICE = {"from": "2026-01-01", "input": "1.25", "input_cached": "0.125",
         "cache_write": "1.5625", "output": "10.000001"}


@pytest.fixture(scope="module")
def second_server():
    server = Mock("two")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def config(mock_server, second_server):
    config = kinds_config(basic_config(mock_server), mock_server)
    config["prices"] = {}
    with closed_port() as port:
        config["upstreams"]["dead"] = {"url": f"http://127.0.0.1:{port}"}
    for name, (kind, _) in KINDS.items():
        at, to = f"at-{name}", f"two-{name}"
        config["upstreams"][to] = {**config["upstreams"][at],
                                   "url": second_server.url, "paid": True}
        config["prices"][to] = {"mock-model": [PRICE]}
        config["models"][f"{name}-or"] = {"routes": [
            {"to": at, "model": "mock-model"},
            {"to": to, "model": "mock-model", "when": MOVES}]}
        config["models"][f"{name}-dead"] = {"routes": [
            {"to": "dead", "model": "x"}, {"to": to, "model": "mock-model"}]}
    config["users"]["alice"]["limits"] = {"paid_routes": True}
    return config


# --- asking ------------------------------------------------------------------

class Exchange:
    """One request, as chosen, and what its client saw of the answer."""

    def __init__(self, label, pick):
        self.label = label
        self.name = pick.choice([*KINDS, *3 * RUNNING])
        apis = KINDS[self.name][1]
        self.dialect = pick.choice(apis)
        self.is_stream = self.dialect.can_stream and pick.random() < 0.7
        self.leaves_after = None  # content events; -1: at any moment
        self.is_spoilt = False
        self.text = ""
        self.status = None
        self.cuts = None
        self.members = {"model": self.name, "stream": self.is_stream}
        self.directives = self.choose(pick)

    def choose(self, pick):
        prompt, tokens = pick.randrange(1, PROMPT_MOST), pick.randrange(1, 17)
        chosen = [f"kind={self.name}", f"prompt={prompt}", f"tokens={tokens}",
                  f"cached={pick.randrange(prompt + 1)}",
                  f"cache_write={pick.choice([0, 0, prompt // 3])}"]
        if pick.random() < 0.3:
            chosen.append(f"shred={pick.choice(SHREDS)}")
        if self.is_stream and self.dialect in (CHAT, COMPLETIONS):
            if self.name in ["openai", *RUNNING] and pick.random() < 0.4:
                self.members["n"] = pick.randrange(1, 4)
            if pick.random() < 0.3:
                self.members["stream_options"] = {"include_usage": True}
        if pick.random() < 0.2:
            self.cuts = sorted(pick.randrange(1, 200) for _ in range(4))
        kind = pick.random()
        if self.is_stream and kind < 0.12:
            self.leaves_after = pick.randrange(1, tokens + 1)
            chosen.append(f"pause={self.leaves_after}")
        elif kind < 0.18:
            self.leaves_after = -1
            chosen.append(f"pause=0,interval={pick.choice([0, 1])}")
        elif kind < 0.3:
            self.members["model"] += "-or"
            failing = FAILING + FAILING_STREAM * self.is_stream
            chosen.append(f"only=one,{pick.choice(failing)}")
        elif kind < 0.35:
            self.members["model"] += "-dead"
        elif kind < 0.65:
            chosen.append(pick.choice(ODD + ODD_STREAM * self.is_stream))
            self.is_spoilt = True
        else:
            chosen.append(f"reasoning={pick.choice([0, 0, 3])}")
            chosen.append(f"iterations={pick.choice([0, 1])}")
        return ",".join(chosen)

    @property
    def is_exact(self):
        """All that the server has counted has reached the gateway: its client
        did not leave at any moment, no reset overtook the last bytes; and it
        was counted, where ollama guesses a message's input at first."""
        is_guess = self.name == "ollama" and self.dialect is ANTHROPIC
        return self.leaves_after != -1 and not is_guess and \
            "fault=reset_mid" not in self.directives

    def request(self, gateway):
        return self.dialect.request(
            gateway.keys["alice"], self.directives,
            fields=[f"X-Session-Id: {self.label}", "Connection: close"],
            **self.members)

    def run(self, gateway):
        data = self.request(gateway)
        with gateway.connect(["POST"]) as c:
            if self.cuts:
                c.send_in_steps(data, self.cuts)
            else:
                c.send(data)
            if self.leaves_after is None:
                c.read_to_end()
                self.status = c.reader.replies[-1].status
                self.see(c)
            elif self.leaves_after < 0:
                time.sleep(random.random() / 50)
            else:
                c.until(lambda c: self.words(c) >= self.leaves_after)
                self.see(c)

    def words(self, conn):
        text = "".join(self.dialect.event_text(e)
                       for e in events(conn.body_so_far()))
        return len(text.replace("<", "")) // 4

    def see(self, conn):
        if self.status in (None, 200) and self.is_stream:
            # Not of a body that is coded.
            with contextlib.suppress(KeyError, TypeError, UnicodeDecodeError):
                self.text = "".join(self.dialect.event_text(e)
                                    for e in events(conn.body_so_far()))

    def __repr__(self):
        return (f"<{self.label} {self.dialect.name} {self.members} "
                f"{self.directives} status {self.status}>")


def run_all(gateway, seed):
    """All exchanges, by label."""
    exchanges, errors = {}, []

    def run(number):
        pick = random.Random(f"{seed} {number}")
        for i in range(EXCHANGES):
            x = Exchange(f"t{number}-{i}", pick)
            exchanges[x.label] = x
            try:
                x.run(gateway)
            except BaseException as error:
                errors.append((x, error))
                return

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[0]
    return exchanges


# --- what must hold ----------------------------------------------------------

def served(mock):
    """What the mock did, by label, in order."""
    found = {}
    for entry in mock.requests():
        fields = {k.lower(): v for k, v in entry["headers"]}
        found.setdefault(fields["x-session-id"], []).append(entry)
    return found


def attempt_counts(attempt):
    """As counts(), of an attempt, which does not tell reasoning apart."""
    names = {"input": "prompt_tokens", "output": "completion_tokens",
             "cached": "cached_tokens", "cache_write": "cache_write_tokens"}
    return {k: attempt.get(v, 0) for k, v in names.items()}


def without_reasoning(row):
    return {k: v for k, v in row.items() if k != "reasoning"}


def check_attempt(x, line, attempt, entry):
    """One attempt against what its server did.  Returns what is wrong."""
    source = attempt.get("usage_source", "none")
    said, true = attempt_counts(attempt), entry["charged"]
    status = entry["served"]["status"]
    if source in ("upstream", "timings"):
        if said != without_reasoning(true):
            return "the counts are not the server's"
    elif source == "running":
        if said["output"] > true["output"]:
            return "more was counted than was made"
        if x.is_exact and (said["input"], said["output"]) != (
                true["input"], true["output"]):
            return "the running counts are not the server's"
    elif source == "estimated":
        if said["input"] <= 0:
            return "an estimate without an input"
        if entry["served"]["usage_sent"] and line["end"] == "ok":
            return "usage came, and it is estimated"
    elif status < 300 and entry["served"]["end"] != "cut":
        return "the server has worked for nothing"
    elif any(true.values()) and status >= 300:
        return "what a refusal cost is lost"
    return None


def check_line(x, line, asked):
    """One line against what its client and the servers saw."""
    wrong = []
    reached = [a for a in line["attempts"] if a["upstream"] != "dead"]
    by_server = {"at": [], "two": []}
    for attempt in reached:
        by_server[attempt["upstream"].split("-")[0]].append(attempt)
    for where, attempts in by_server.items():
        entries = asked[where].get(x.label, [])
        if x.leaves_after is None and len(entries) != len(attempts):
            wrong.append(f"{len(entries)} requests at {where}")
        wrong += [check_attempt(x, line, a, e)
                  for a, e in zip(attempts, entries)]
    if line["attempts"]:
        last = line["attempts"][-1]
        if without_reasoning(counts(line)) != attempt_counts(last) or \
                line["usage_source"] != last.get("usage_source", "none"):
            wrong.append("the line is not its last attempt")
        entry = asked[last["upstream"].split("-")[0]].get(x.label, [None])[-1]
        if line["usage_source"] == "upstream" and \
                line["reasoning_tokens"] != entry["charged"]["reasoning"]:
            wrong.append("the reasoning is not the server's")
    cost = sum(Fraction(a.get("cost_usd", "0")) for a in line["attempts"])
    if cost != Fraction(line["cost_usd"]):
        wrong.append(f"the attempts cost {cost}")
    if line["usage_source"] == "estimated" and x.text and \
            line["completion_tokens"] == 0:
        wrong.append("a text that costs nothing")
    if x.leaves_after is not None and x.leaves_after > 0:
        if line["end"] != "client_gone":
            wrong.append("the client had gone")
        if x.name in RUNNING and x.dialect in (CHAT, COMPLETIONS) and \
                line["usage_source"] != "running":
            wrong.append("counted, and not taken")
    if x.status is not None and line["status"] != x.status:
        wrong.append(f"the client saw {x.status}")
    if not x.is_spoilt and x.leaves_after is None and line["end"] != "ok":
        wrong.append("it was good")
    return [w for w in wrong if w]


def total(rows):
    sums = dict.fromkeys(("input", "output"), 0)
    for row in rows:
        for name in sums:
            sums[name] += row[name]
    return sums


def test_what_is_not_estimated_is_what_the_servers_counted(
        gateway, mock, second_server):
    seed = os.environ.get("WEIR_TEST_SEED") or str(random.randrange(10**9))
    print(f"WEIR_TEST_SEED={seed}")
    second_server.reset()
    exchanges = run_all(gateway, seed)
    for server in mock, second_server:
        # Some kinds work on for a client that has left, until their end.
        server.control("go", b"")
        server.wait_stats(in_flight=0)
    asked = {"at": served(mock), "two": served(second_server)}
    certain = {k for k, x in exchanges.items() if x.leaves_after != -1}
    certain |= set(asked["at"]) | set(asked["two"])
    wait_until(lambda: certain <= {x["session"] for x in gateway.ledger()},
               what="all lines are there")
    lines = {}
    for line in gateway.lines():
        assert line["session"] not in lines, ("two lines", line)
        lines[line["session"]] = line
    assert certain <= set(lines) <= set(exchanges)

    wrong = [(w, exchanges[k], line, [a.get(k) for a in asked.values()])
             for k, line in lines.items()
             for w in [check_line(exchanges[k], line, asked)] if w]
    for row in wrong[:5]:
        print(*row, sep="\n  ")
    assert not wrong, f"{len(wrong)} of {len(lines)}: {wrong[0][0]}"
    check_sums(exchanges, lines, asked)


def check_sums(exchanges, lines, asked):
    """The ledger's sums are the servers' own, and each kind of line is there."""
    exact = {k: x for k, x in lines.items() if x["usage_source"] in EXACT and
             exchanges[k].is_exact}
    true = []
    for label, line in exact.items():
        where = line["upstream"].split("-")[0]
        true.append(asked[where][label][-1]["charged"])
    assert total(counts(x) for x in exact.values()) == total(true)
    assert {x["usage_source"] for x in lines.values()} >= \
        {"upstream", "running", "estimated", "none"}
    assert any(x["usage_damaged"] for x in lines.values())
    assert any(len(x["attempts"]) == 2 for x in lines.values())
    assert {x["api"] for x in lines.values()} >= \
        {"chat", "completions", "responses", "messages",
         EMBEDDINGS.name, RERANK.name}
