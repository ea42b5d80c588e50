"""Programs that the benchmark starts, and what /proc says about them."""

import os
import signal
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The benchmark cannot go on; the text says why."""


class Program:
    """One program with its children, in a session of its own."""

    def __init__(self, name, argv, folder, cpu=None, env=None, pipe=False):
        self.name = name
        self.log_path = os.path.join(folder, name + ".log")
        if cpu is not None:
            argv = ["taskset", "-c", str(cpu)] + argv
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stderr=log, cwd=folder,
                stdout=subprocess.PIPE if pipe else log,
                env=dict(os.environ, **(env or {})), start_new_session=True)

    def log_tail(self):
        with open(self.log_path, errors="replace") as log:
            return "".join(log.readlines()[-8:])

    def wait_until(self, is_ready, what, seconds=15.0):
        """Polls until is_ready(); returns the seconds that it took."""
        begun = time.monotonic()
        while not is_ready():
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} ended before it was {what}:\n"
                             f"{self.log_tail()}")
            if time.monotonic() - begun > seconds:
                raise Failed(f"{self.name} was not {what} within "
                             f"{seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.002)
        return time.monotonic() - begun

    def stop(self):
        """Ends the program and its children, if need be by force."""
        for sig, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            try:
                os.killpg(self.popen.pid, sig)
            except ProcessLookupError:
                break
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        if self.popen.stdout:
            self.popen.stdout.close()

    def tree(self):
        """The pids of the program and all its descendants."""
        parents = {}
        for entry in os.listdir("/proc"):
            stat = read_stat(entry) if entry.isdigit() else None
            if stat:
                parents[int(entry)] = int(stat[1])
        pids = [self.popen.pid]
        for pid in pids:
            pids.extend(p for p, parent in parents.items() if parent == pid)
        return pids

    def cpu_seconds(self):
        """User and system time of the whole tree, ended children included."""
        ticks = 0
        for pid in self.tree():
            stat = read_stat(pid)
            if stat:
                ticks += sum(int(field) for field in stat[11:15])
        return ticks / TICKS

    def memory_bytes(self):
        """(Pss, Rss) summed over the tree; shared pages count in full in Rss."""
        pss = rss = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    for line in rollup:
                        if line.startswith("Pss:"):
                            pss += int(line.split()[1]) * 1024
                        elif line.startswith("Rss:"):
                            rss += int(line.split()[1]) * 1024
            except (FileNotFoundError, ProcessLookupError):
                continue
        return pss, rss


def read_stat(pid):
    """The fields of /proc/PID/stat after the name: state, parent, ..."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
