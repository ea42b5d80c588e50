"""kill -9 at any moment: what the model server was asked stands in the ledger,
once.  The full run (`make torture`) is WEIR_CRASH_ROUNDS=1000."""

import json
import os
import random
import subprocess
import time
from collections import Counter

import pytest

from harness import (Gateway, Mock, basic_config, bin_dir, wait_until,
                     with_parent)
from load import Load
from segments import check_numbers, read_segments
from tracing import NO_LEAK_CHECK, needs_strace

ROUNDS = int(os.environ.get("WEIR_CRASH_ROUNDS", "50"))
SEED = int(os.environ.get("WEIR_CRASH_SEED", "20261121"))
STREAMS = 50
ROUNDS_A_LEDGER = 25  # then with a new one, so that reading it stays quick
KILL_MOST_S = 0.25
TORN = b'{"ts":"2026-11-21T00:00:00Z","user":"al'


@pytest.fixture(scope="module")
def busy_server():
    """It has no time for anybody."""
    server = Mock("busy", "--set", "status=503")
    yield server
    server.stop()


def crash_config(mock_server, busy_server):
    config = basic_config(mock_server)
    config["upstreams"]["busy"] = {"url": busy_server.url}
    config["models"]["falls"] = {"routes": [
        {"to": "busy", "model": "x"}, {"to": "mock", "model": "x"}]}
    config["ledger"] = {"rotate": "1MiB"}
    return config


def make_request(chance):
    """A request of many kinds: streams long and short, whole answers, quick
    and slow ones."""
    def make(_):
        tokens = chance.choice([1, 3, 10, 40, 200])
        interval = chance.choice([0, 1, 2, 5])
        directives = f"tokens={tokens},interval={interval}"
        if chance.random() < 0.2:
            directives += f",ttft={chance.choice([5, 50])}"
        if chance.random() < 0.1:
            directives += f",tail={chance.choice([5, 50])}"
        return directives, {"stream": chance.random() < 0.85,
                            "model": chance.choice(["m", "m", "falls"])}
    return make


def kill_while_it_starts(gateway, chance):
    """A start that is killed before it is ready, or right after."""
    with open(gateway.log_path, "ab") as log:
        process = subprocess.Popen(
            with_parent([bin_dir() / "weir", "serve", "-c", gateway.path]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=gateway.environment, start_new_session=True)
    # Any moment is a good one.
    time.sleep(chance.random() * 0.12)
    process.kill()
    process.wait()


def served_by_tag(*servers):
    """What reached each of them."""
    found = {}
    for server in servers:
        for request in server.requests():
            tag = json.loads(request["body"])["messages"][0]["content"]
            found.setdefault(tag, []).append(request)
    return found


def check_round(lines, load, served):
    """Exactly one line for what was served, and at most one for anything."""
    by_tag = {}
    for line in lines:
        by_tag.setdefault(line["client_request_id"], []).append(line)
    crashed = 0
    for tag in load.asked:
        of_tag = by_tag.get(tag, [])
        assert len(of_tag) <= 1, of_tag
        if tag in served:
            assert len(of_tag) == 1, f"{tag} was served and has no line"
        if not of_tag:
            assert tag not in load.answered
            continue
        line, = of_tag
        output = sum(x["charged"]["output"] for x in served.get(tag, []))
        if tag in load.answered:
            # Between its last byte and its line there is a moment.
            assert line["completion_tokens"] == output, (line, output)
            assert line["usage_source"] == "upstream", line
        if line["end"] == "gateway_crashed":
            crashed += 1
            check_crashed(line, output)
        elif line["end"] == "ok":
            assert line["usage_source"] == "upstream", line
            assert line["completion_tokens"] == output, (line, output)
        else:
            assert not line["attempts"], line
    return crashed


def check_crashed(line, output):
    """What the gateway had seen is no more than what the server had said; of
    text without a count an estimate may be off.  Who was killed right before
    the first byte left has seen nothing."""
    assert line["duration_ms"] >= 0, line
    tokens = line["completion_tokens"]
    last = line["attempts"][-1]
    if last["upstream"] == "busy" and last["result"] != "gateway_crashed":
        assert tokens == line["prompt_tokens"] == 0, line
        return
    assert last["result"] == "gateway_crashed", line
    assert line["prompt_tokens"] > 0, line
    if line["usage_source"] == "estimated":
        assert 0 <= tokens <= 2 * output + 2, (line, output)
        assert tokens == 0 or output > 0, (line, output)
    else:
        assert 0 <= tokens <= output, (line, output)


class Torture:
    """Rounds on one ledger."""

    def __init__(self, mock, busy, folder, chance):
        self.mock = mock
        self.busy = busy
        self.chance = chance
        self.gateway = Gateway(crash_config(mock, busy), folder)
        self.starts = []
        self.requests = self.crashed = self.served = self.torn = 0
        self.checked = 0

    def round(self, name):
        gateway, mock, chance = self.gateway, self.mock, self.chance
        mock.reset()
        self.busy.reset()
        load = Load(gateway.port, gateway.keys["alice"], name, STREAMS,
                    make_request(chance))
        try:
            # The random moment.
            time.sleep(chance.random() * KILL_MOST_S)
            gateway.kill()
        finally:
            load.stop()
        mock.wait_stats(in_flight=0)
        self.busy.wait_stats(in_flight=0)
        if chance.random() < 0.1:
            with open(gateway.ledger_path, "ab") as ledger:
                ledger.write(TORN)
            self.torn += 1
        for _ in range(chance.choice([0, 0, 1, 3])):
            kill_while_it_starts(gateway, chance)
        begun = time.monotonic()
        gateway.start()
        self.starts.append(time.monotonic() - begun)
        gateway.flush_ledger()
        lines = read_segments(gateway.ledger_path)
        check_numbers(lines)
        served = served_by_tag(mock, self.busy)
        self.crashed += check_round(lines[self.checked:], load, served)
        self.requests += len(load.asked)
        self.served += len(served)
        # Each of those before was right when its round was over.
        assert len(lines) >= self.checked
        self.checked = len(lines)

    def finish(self):
        gateway = self.gateway
        gateway.stop()
        check_numbers(read_segments(gateway.ledger_path))
        done = gateway.command("ledger", "check", check=False)
        assert done.returncode == 0, done
        pieces = b"".join(p.read_bytes() for p in
                          gateway.state.glob("torn-*"))
        # A kill while one was moved leaves it in both places.
        assert pieces.count(TORN) >= self.torn


def test_a_kill_loses_no_request_and_doubles_none(
        mock_server, busy_server, tmp_path):
    chance = random.Random(SEED)
    starts, requests, served, crashed = [], 0, 0, 0
    for first in range(0, ROUNDS, ROUNDS_A_LEDGER):
        torture = Torture(mock_server, busy_server,
                          tmp_path / f"ledger-{first}", chance)
        for i in range(first, min(ROUNDS, first + ROUNDS_A_LEDGER)):
            torture.round(f"r{i}")
        torture.finish()
        starts += torture.starts
        requests += torture.requests
        served += torture.served
        crashed += torture.crashed
    starts.sort()
    print(f"{ROUNDS} kills: {requests} requests, {served} served, {crashed} "
          f"lines of crashed ones, restart {starts[len(starts) // 2]:.3f} s")
    assert served > 10 * ROUNDS and crashed > ROUNDS


def tiny(_):
    return "tokens=1", {}


# The moments that chance rarely finds: a sentence, where (a file of the state
# folder), the system call at whose beginning it is killed, and which of them.
MOMENTS = [
    ("before a write", "usage.jsonl", "write", 1),
    ("before a later write", "usage.jsonl", "write", 9),
    ("between a write and its sync", "usage.jsonl", "fdatasync", 2),
    ("before a rotation", "usage.jsonl", "renameat2", 1),
    ("between a rename and the new file", ".", "fsync", 2),
]


@needs_strace
@pytest.mark.parametrize("moment", MOMENTS, ids=[m[0] for m in MOMENTS])
def test_a_kill_at_a_system_call_loses_and_doubles_nothing(
        mock_server, mock, busy_server, tmp_path, moment):
    _, name, call, when = moment
    chance = random.Random(SEED)
    state = tmp_path / "weir" / "state"
    state.mkdir(parents=True, mode=0o700)
    (state / "usage.jsonl").touch(0o640)
    watched = state if name == "." else state / name
    gateway = Gateway(
        crash_config(mock_server, busy_server), tmp_path / "weir",
        env=NO_LEAK_CHECK,
        prefix=["strace", "-D", "-f", "-q", "-o", os.devnull, "-P", watched,
                "-e", f"trace={call}", "-e",
                f"inject={call}:signal=KILL:when={when}"])
    # Rotation takes a megabyte of lines.
    load = Load(gateway.port, gateway.keys["alice"], "t", STREAMS,
                tiny if call in ("renameat2", "fsync")
                else make_request(chance))
    wait_until(lambda: not gateway.is_running(), 60, "it is killed")
    load.stop()
    mock.wait_stats(in_flight=0)
    gateway.prefix = []
    gateway.start()
    gateway.stop()
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    counts = Counter(x["client_request_id"] for x in lines)
    assert load.answered <= counts.keys() <= load.asked.keys()
    assert set(counts.values()) == {1}
    if len(load.asked) < 900:  # the mock remembers the last 1,000
        check_round(lines, load, served_by_tag(mock, busy_server))
    done = gateway.command("ledger", "check", check=False)
    assert done.returncode == 0, done
