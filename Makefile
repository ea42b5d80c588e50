# What people type.  The work is in the presets and the scripts.
all:
	deploy/install-packages.sh build
	cmake --preset release
	cmake --build --preset release

demo:
	deploy/demo.sh

test:
	tests/run.sh

# Kills the gateway a thousand times, on the build of `make test`.
torture:
	WEIR_CRASH_ROUNDS=1000 tests/run.sh -R e2e/test_crash

bench:
	tests/bench/run.sh

fuzz:
	tests/fuzz/run.sh

lint:
	tests/lint/run.sh

format:
	tests/lint/run.sh --format

docs:
	tests/lint/run.sh --docs

install:
	cmake --install build/release

clean:
	rm -rf build

.PHONY: all demo test torture bench fuzz lint format docs install clean
