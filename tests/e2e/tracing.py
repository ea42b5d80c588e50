"""System calls, watched and spoilt by strace."""

import os
import subprocess

import pytest

# The leak checker does not work while somebody watches.
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=99"}


def can_trace():
    """Whether system calls may be watched here."""
    try:
        return subprocess.run(
            ["strace", "-o", os.devnull, "true"], check=False,
            capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


needs_strace = pytest.mark.skipif(not can_trace(), reason="no strace here")
