"""The ledger as somebody else would read it: its files, plain and gzipped,
whatever they were renamed to; and what must hold of their lines together."""

import gzip
import json
import re

LINE_MOST_BYTES = 4096


def segment_paths(ledger_path):
    """Every file of the ledger.  Of one that is both plain and gzipped (the
    gateway ended in the middle of that), only the plain one counts."""
    stem, suffix = ledger_path.stem, ledger_path.suffix
    name = re.compile(
        rf"{re.escape(stem)}(-\d{{8}}-\d{{3}})?{re.escape(suffix)}"
        r"(\.\d+)?(\.gz)?")
    found = [p for p in ledger_path.parent.iterdir()
             if name.fullmatch(p.name)]
    return [p for p in found
            if p.suffix != ".gz" or p.with_suffix("") not in found]


def read_segment(path):
    """Its lines, parsed; each must be whole."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" \
        else path.read_bytes()
    assert data == b"" or data.endswith(b"\n"), (path, data[-200:])
    lines = data.split(b"\n")[:-1]
    assert all(len(x) + 1 <= LINE_MOST_BYTES for x in lines), path
    return [json.loads(x) for x in lines]


def read_segments(ledger_path):
    """All lines of all files, in the order in which they were written."""
    segments = [s for s in map(read_segment, segment_paths(ledger_path)) if s]
    segments.sort(key=lambda s: (s[0]["writer"], s[0]["seq"]))
    return [line for s in segments for line in s]


def check_numbers(lines):
    """Each writer's numbers run from 1 without a gap, in the order in which
    they were written, and no exchange stands there twice."""
    last = {}
    for line in lines:
        writer = line["writer"]
        assert line["seq"] == last.get(writer, 0) + 1, \
            (last.get(writer, 0), line)
        last[writer] = line["seq"]
    ids = [x["id"] for x in lines]
    assert len(ids) == len(set(ids)), "an exchange stands there twice"
