# What people type.  Everything here only calls a preset or a script.

.PHONY: all demo test bench fuzz lint format docs install clean

all:
	cmake --preset release
	cmake --build --preset release --target weir

demo:
	deploy/demo.sh

test:
	tests/run.sh

bench:
	tests/bench/run.sh $(ARGS)

fuzz:
	tests/fuzz/run.sh

lint:
	tests/lint/run.sh

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

docs: all
	build/release/weir help configuration > docs/configuration.md
	build/release/weir help errors > docs/errors.md

install: all
	cmake --install build/release

clean:
	rm -rf build
