"""The official SDKs for Node: installed as the lock file says, and run against
the gateway, one scenario of node/*.mjs at a time."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import with_parent

FOLDER = pathlib.Path(__file__).resolve().parent / "node"


def install():
    """`npm ci`, if what is there is not what the lock file says."""
    lock_file = FOLDER / "package-lock.json"
    stamp = FOLDER / "node_modules" / ".weir-lock"
    with open(lock_file, "rb") as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)  # several test files want it
        if stamp.exists() and stamp.read_bytes() == lock_file.read_bytes():
            return
        assert shutil.which("npm"), "npm is missing: tests/run.sh installs it"
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline",
             "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=9000"],
            cwd=FOLDER,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False)
        assert done.returncode == 0, \
            "npm cannot reach its registry, so the SDKs were not tested:\n" + \
            done.stdout + done.stderr
        stamp.write_bytes(lock_file.read_bytes())


@pytest.fixture(scope="session")
def sdks():
    """The SDKs are there."""
    install()


class Sdk:
    """A program written with one of the SDKs."""

    def __init__(self, script, environment):
        self.script = script
        self.environment = {
            **{name: value for name, value in os.environ.items()
               if not name.startswith(("OPENAI_", "ANTHROPIC_"))
               and not name.lower().endswith("_proxy")},
            **environment}

    def start(self, scenario, **members):
        return subprocess.Popen(
            with_parent(["node", FOLDER / self.script, scenario,
                         json.dumps(members)]),
            env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and not errors, errors
        return json.loads(output)

    def run(self, scenario, **members):
        """What the SDK returned."""
        seen = self.finish(self.start(scenario, **members))
        assert "error" not in seen, seen["error"]
        return seen["result"]

    def error(self, scenario, **members):
        """What the SDK threw."""
        seen = self.finish(self.start(scenario, **members))
        assert "error" in seen, seen
        return seen["error"]
