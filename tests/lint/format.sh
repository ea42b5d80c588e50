#!/bin/sh
# Every C file is as clang-format lays it out.  Versions differ in that, so it is
# always version 14.  --write lays them out.
set -eu

cd "$(dirname "$0")/../.."
mode='--dry-run -Werror'
[ "${1-}" != --write ] || mode=-i

# shellcheck disable=SC2086 # two words
find . -path ./build -prune -o -path ./.git -prune -o -name node_modules -prune \
    -o -name '*.[ch]' -exec clang-format-14 $mode {} +
