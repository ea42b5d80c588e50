#!/bin/sh
# The checks of the source alone, or what puts it right:
#
#     tests/lint/run.sh              check
#     tests/lint/run.sh --format     lay out all C files as .clang-format says
#     tests/lint/run.sh --docs       write the pages that the program makes
set -eu

cd "$(dirname "$0")/../.."
deploy/install-packages.sh build lint

build_weir() {
	cmake --preset dev
	cmake --build --preset dev --parallel "$(nproc)" --target weir
}

case ${1-} in
'')
	build_weir
	ctest --preset dev -R '^lint/'
	;;
--format)
	tests/lint/format.sh --write
	;;
--docs)
	build_weir
	tests/lint/docs.sh --write build/dev/weir
	;;
*)
	echo 'Usage: tests/lint/run.sh [--format|--docs]' >&2
	exit 2
	;;
esac
