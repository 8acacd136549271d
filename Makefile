# Front doors. CMake does the building; see CMakeLists.txt.
#
#   make demo [DIR=/usr/include]   build the programs; count the identifiers below DIR on all cores
#   make test                      build everything and run every test
#   make bench [ARGS=--json]       compare with raw NNG, Python's Pool, gearmand, xargs and GNU parallel
#   make install [PREFIX=/usr/local]
#   make format, make clean
#
# CC=clang builds in build-clang/. CMAKE_FLAGS is passed on to cmake, e.g. CMAKE_FLAGS=-DMUSTER_SANITIZE=thread
# (give it a directory of its own: BUILD=build-tsan).

compiler := $(notdir $(lastword $(CC)))
BUILD ?= build$(if $(filter-out cc gcc,$(compiler)),-$(compiler))
DIR ?= /usr/include
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)

# A build that goes well says little: no directories, no line for each file. Warnings and errors are shown.
MAKEFLAGS += --no-print-directory

.NOTPARALLEL:
.PHONY: all configured programs demo test bench bench-packages install format clean
all: configured
	@cmake --build $(BUILD) -j $(JOBS)

configured:
	@scripts/setup build python $(compiler)
	@CC="$(CC)" cmake -S . -B $(BUILD) -DCMAKE_RULE_MESSAGES=OFF $(CMAKE_FLAGS) >/dev/null

programs: configured
	@cmake --build $(BUILD) -j $(JOBS) --target programs

demo: programs
	@$(BUILD)/bin/muster-demo $(DIR)

test: all
	@ctest --test-dir $(BUILD) --output-on-failure -j2 $(CTEST_FLAGS)

# The packages come first, because configuring looks for what the benchmark can be compared with.
bench: bench-packages all
	@cmake --build $(BUILD) -j $(JOBS) --target bench
	@$(BUILD)/bin/muster-bench $(ARGS)

bench-packages:
	@scripts/setup bench

install: programs
	@cmake --install $(BUILD) --prefix $(PREFIX)

format:
	@scripts/setup format
	@git ls-files '*.c' '*.h' | xargs clang-format -i
	@ruff=$$(ls $(BUILD)/python/*/bin/ruff 2>/dev/null | head -n 1); [ -z "$$ruff" ] || for what in "check -q --fix" format; do \
		$$ruff $$what --no-cache --config bindings/python/pyproject.toml bindings/python tests/python; done

clean:
	rm -rf build build-*
