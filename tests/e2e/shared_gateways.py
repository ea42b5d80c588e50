"""Gateways that do nothing but ask for shared limits (weir-shared-driver), and
what they are told."""

import itertools
import json
import os
import pathlib
import subprocess
import threading

from harness import SANITIZERS, bin_dir, wait_until, with_parent
from redis_sums import line_of

DOLLAR = 10**12
IDS = itertools.count(1)


def new_id():
    return f"{next(IDS):026}"


class Gateway:
    """One driver: its follower reads a ledger to which write() adds."""

    def __init__(self, folder, name, where, *, lease_ms=30000, ca=None):
        self.name, self.where = name, where
        self.lease_ms, self.ca = lease_ms, ca
        self.state = pathlib.Path(folder) / name
        self.state.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.ledger = self.state / "usage.jsonl"
        self.ledger.touch()
        self.seq = 0
        self.lines = []
        self.answers = {}
        self.heard = threading.Condition()
        self.start()

    def start(self):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            with_parent([bin_dir() / "weir-shared-driver", self.name,
                         self.state, str(self.lease_ms), self.where,
                         *([self.ca] if self.ca else [])]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **SANITIZERS})
        threading.Thread(target=self.listen, args=(self.process,),
                         daemon=True).start()

    def listen(self, process):
        for line in process.stdout:
            name, *words = line.split()
            with self.heard:
                self.answers.setdefault(name, []).append(words)
                self.heard.notify_all()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def flush(self):
        self.process.stdin.flush()

    def answer(self, name, timeout=20):
        with self.heard:
            assert self.heard.wait_for(lambda: self.answers.get(name),
                                       timeout), (self.name, name)
            return self.answers[name].pop(0)

    def ask(self, *words):
        self.tell(*words)
        self.flush()
        return self.answer(words[1])

    # pylint: disable=too-many-arguments
    def admit_words(self, name, subject="user:alice", requests="-",
                    per_minute_in="-", per_minute_out="-", day="-",
                    concurrent="-", budget="-", tokens=(0, 0)):
        return ["admit", name, subject, requests, per_minute_in,
                per_minute_out, day, concurrent, budget, *tokens]

    def admit(self, name, **how):
        return self.ask(*self.admit_words(name, **how))

    def pay(self, name, pusd):
        return self.ask("pay", name, pusd)

    def settle(self, name, has_line=False, tokens=(0, 0)):
        self.tell("settle", name, "line" if has_line else "none", *tokens)
        self.flush()

    def write(self, name, **more):
        """The request's line comes to the ledger."""
        self.seq += 1
        line = line_of(self.seq, writer=self.writer, **{"id": name, **more})
        self.lines.append(line)
        with open(self.ledger, "a", encoding="ascii") as f:
            f.write(json.dumps(line, separators=(",", ":")) + "\n")

    @property
    def writer(self):
        return "01K9W0000000000000000000" + self.name[-2:].upper().rjust(2, "0")

    def facts(self):
        self.tell("state")
        self.flush()
        up, whole, gateways, claims = map(int, self.answer("state"))
        return {"up": up, "whole": whole, "gateways": gateways,
                "claims": claims}

    def is_whole(self):
        facts = self.facts()
        return facts["up"] and facts["whole"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.tell("quit")
            self.flush()
            assert self.process.wait(20) == 0
        self.process.stdin.close()


def held(redis):
    return {k: int(v) for k, v in redis.hash("{weir}:held").items()}


def all_whole(gateways):
    wait_until(lambda: all(g.is_whole() for g in gateways), 30)
