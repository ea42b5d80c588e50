#!/usr/bin/env python3
"""What no compiler looks at: one check an argument, in the whole tree.

    tests/lint/source.py layers headers banned links
"""

import pathlib
import posixpath
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ["base", "metering", "auth", "conf", "proxy", "cli"]
# From left to right, as above; those in metering/ are rooms of their own.
LAYERS = ["base", "metering", "metering/ledger", "metering/reports",
          "metering/redis", "auth", "conf", "proxy/gate",
          "proxy/shared", "proxy", "cli"]

# banned.h stops most of the others at compile time, where it is included.
BANNED = {
    "strcpy": "str_copy", "strcat": "buf_add", "sprintf": "snprintf",
    "vsprintf": "vsnprintf", "gets": "fgets", "strtok": "slices",
    "strncpy": "memcpy", "strncat": "buf_add", "atoi": "strtol",
    "alloca": "an array of known size", "system": "nothing: no shell is run",
    "popen": "nothing: no shell is run", "mktemp": "mkstemp",
}


def sources(*folders):
    for folder in folders or [*ROOMS, "tests"]:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            if "node_modules" not in path.parts:
                yield path


def without_comments_and_strings(text):
    """The same lines, with what the compiler does not run blanked."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), text,
                  flags=re.S)


def layers():
    """A room includes only itself and the rooms to its left."""
    for path in sources(*ROOMS):
        room = path.parent.relative_to(ROOT).as_posix()
        allowed = set(LAYERS[:LAYERS.index(room) + 1])
        for number, line in enumerate(path.read_text().split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if match and posixpath.dirname(match[1]) not in allowed:
                yield path, number, f"{room} may not include {match[1]}"


def headers():
    """Every file says what it is for, or its first line includes the header
    that does; a test of a file is introduced by that file."""
    for path in sources():
        text = path.read_text()
        first = text.split("\n", 1)[0]
        is_introduced = text.startswith("/*") or (
            path.suffix == ".c" and re.fullmatch(
                rf'#include "([^"]*/)?{path.stem.split("_")[0]}\w*\.h"', first))
        if not is_introduced and not path.stem.endswith("_test"):
            yield path, 1, "begins without saying what it is for"
        if path.suffix == ".h" and "\n#pragma once\n" not in text:
            yield path, 1, "has no #pragma once"


def banned():
    """Functions with a safer twin are not used, nor is the environment read
    outside cli/; every program file of ours includes banned.h."""
    for path in sources():
        code = without_comments_and_strings(path.read_text())
        is_ours = path.relative_to(ROOT).parts[0] in ROOMS
        wanted = dict(BANNED)
        if is_ours and path.relative_to(ROOT).parts[0] != "cli":
            wanted["getenv"] = "an argument: only cli/ reads the environment"
        pattern = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(wanted))
        for number, line in enumerate(code.split("\n"), 1):
            for match in pattern.finditer(line):
                yield path, number, \
                    f"{match[1]}() is banned: use {wanted[match[1]]}"
        if is_ours and path.suffix == ".c" and \
                '#include "base/banned.h"' not in path.read_text():
            yield path, 1, 'does not include "base/banned.h"'


def links():
    """What a page points to in the tree exists."""
    for path in sorted(ROOT.rglob("*.md")):
        if {"build", "node_modules", ".git"} & set(path.parts):
            continue
        text = re.sub(r"^```.*?^```", lambda m: "\n" * m[0].count("\n"),
                      path.read_text(), flags=re.S | re.M)
        for number, line in enumerate(text.split("\n"), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                file = target.split("#")[0]
                if re.match(r"[a-z]+:", target) or not file:
                    continue
                if not (path.parent / file).exists():
                    yield path, number, f"{file} does not exist"


CHECKS = {check.__name__: check for check in (layers, headers, banned, links)}


def main(names):
    found = 0
    for name in names or CHECKS:
        for path, number, what in CHECKS[name]():
            print(f"{path.relative_to(ROOT)}:{number}: {what}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
