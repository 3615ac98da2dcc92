# Every target sets up what it needs: a fresh machine has only Python 3.11 or newer and make. With a C++ compiler the native
# emulator core is built, and on Python 3.11 nes-py, which has no wheels there. Without one the other engines are used.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: ablation campaign specialise polish demo setup train explore eval test test-fast test-avx2 test-cluster coverage soak soak-cluster kills lint lint-native format
.PHONY: hooks docs
.PHONY: bench bench-clear bench-train bench-staleness bench-native bench-native-optimisations native-compare

setup: $(STAMP)

NATIVE := $(wildcard native/src/* native/a3g_native/*) native/CMakeLists.txt native/pyproject.toml
# gym-super-mario-bros, which ships the game, depends on nes-py, which may have to be compiled.
COMPILED := ^(nes-py|gym-super-mario-bros)==
PRINT_DEV_EXTRA := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")
SKIPPED_NES_PY := nes-py could not be built (no C++ compiler? see $(VENV)/nes-py.log); the other engines will be used.
SKIPPED_NATIVE := The native core could not be built (no C++ compiler? see $(VENV)/native.log); fceumm or nes-py will be used.

$(STAMP): requirements.txt pyproject.toml $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	grep -Ev '$(COMPILED)' requirements.txt > $(VENV)/others.txt
	grep -E '$(COMPILED)' requirements.txt > $(VENV)/nes-py.txt
	grep -E '^gym-super-mario-bros==' requirements.txt > $(VENV)/rom.txt
	$(BIN)/python -c '$(PRINT_DEV_EXTRA)' > $(VENV)/dev.txt
	$(PIP) install --quiet --requirement $(VENV)/others.txt --requirement $(VENV)/dev.txt
	@$(PIP) install --quiet --requirement $(VENV)/nes-py.txt 2> $(VENV)/nes-py.log || { \
		$(PIP) install --quiet --no-deps --requirement $(VENV)/rom.txt && echo "$(SKIPPED_NES_PY)"; }
	@$(PIP) install --quiet ./native 2> $(VENV)/native.log || echo "$(SKIPPED_NATIVE)"
	$(PIP) install --quiet --no-deps --editable .
	touch $@

# Trains stage 1-1 from nothing: an expert that sees a map first, until it clears 18 of 20 random starts under 10% sticky actions, then
# a model that sees pictures, until it clears 14 of 20.
NOW := $(shell date +%Y%m%d-%H%M%S)
TRAIN := 1-1-$(NOW)
TRAIN_FLAGS := --env SuperMarioBros-1-1-v0 --until-cleared --test-episodes 20
train: $(STAMP)
	$(BIN)/python main.py --preset quick-expert $(TRAIN_FLAGS) --clear-rate 0.9 --run-name $(TRAIN)-expert
	$(BIN)/python main.py --preset quick-student $(TRAIN_FLAGS) --clear-rate 0.7 --run-name $(TRAIN) --expert logs/$(TRAIN)-expert

# Finds ways through all 32 stages, without a network, and keeps them in trained_models/demos/.
explore: $(STAMP)
	$(BIN)/python main.py explore

# Plays stage 1-1 a hundred times with the shipped weights.
eval: $(STAMP)
	$(BIN)/python gym_eval.py --env SuperMarioBros-1-1-v0 --num-episodes 100

# All 32 stages with the shipped weights: one film, an animation of less than 4 MB and the scorecard, in logs/demo/.
demo: $(STAMP)
	$(BIN)/python -m a3g demo

# One model for all 32 stages: finds demonstrations where there are none, trains an expert for an hour, then the model until it is
# stopped (MINUTES=60 for an hour). It goes on wherever it is started again, on another machine too: what it needs for that lies
# in trained_models.
campaign: MINUTES = 0
campaign: EXPERT_MINUTES = 60
campaign: $(STAMP)
	$(BIN)/python main.py explore
	$(BIN)/python -m benchmarks.campaign --expert-minutes $(EXPERT_MINUTES) --minutes $(MINUTES)

# Goes on with the expert for all stages, a stage at a time: MINUTES of one core a stage. What is shipped stays as it is; the new
# weights, their scores and the old ones' are in logs.
specialise: MINUTES = 4
specialise: $(STAMP)
	$(BIN)/python -m benchmarks.specialise --minutes $(MINUTES) --out logs/specialised-$(NOW)

# Puts right what the shipped model does from the very start of each stage, for MINUTES; the new weights are in logs.
polish: MINUTES = 60
polish: $(STAMP)
	$(BIN)/python -m benchmarks.polish --minutes $(MINUTES) --out logs/polished-$(NOW)

# What each part of that recipe brings, on four stages: two to three hours of one core for each of two seeds, estimated.
ablation: $(STAMP)
	$(BIN)/python -m benchmarks.ablation

# All tests, then those of learning once more as on a processor without AVX-512. Files whose tests do not mind are run side by side,
# one on each core.
SIDE_BY_SIDE := --numprocesses logical --dist loadfile
test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not alone"
	$(BIN)/python -m pytest -m alone
	$(MAKE) test-avx2

# About two minutes, to run while working: no test that takes more than some seconds.
test-fast: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not stress and not gpu"

# PyTorch computes on other ways where AVX-512 and bfloat16 instructions are missing. These variables hide them.
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
AVX2_TESTS := $(patsubst %,tests/test_%.py,learner model losses rollout weights optim pooling precision)
test-avx2: $(STAMP)
	$(AVX2) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(AVX2_TESTS)

# Batch jobs on a Slurm cluster of two nodes that is started on this machine, and taken down again. Needs Debian's packages
# slurm-wlm and munge; without them these tests are skipped.
test-cluster: $(STAMP)
	$(BIN)/python -c '$(subst "dev","cluster",$(PRINT_DEV_EXTRA))' > $(VENV)/cluster.txt
	$(PIP) install --quiet --requirement $(VENV)/cluster.txt
	$(BIN)/python -m pytest -m cluster -rs -v

# What the tests reach, line by line; child processes are not counted.
coverage: $(STAMP)
	$(BIN)/python -m pytest -m "not stress" --cov=a3g --cov-report=term-missing:skip-covered

# A run with a fault every ten seconds, and whether all that it promises held.
MINUTES ?= 30
soak: $(STAMP)
	$(BIN)/python -m tests.stress.soak --minutes $(MINUTES)

# The same of a run on a Ray cluster of two nodes on this machine, with a fault every half minute.
soak-cluster: $(STAMP)
	$(BIN)/python -c '$(subst "dev","cluster",$(PRINT_DEV_EXTRA))' > $(VENV)/cluster.txt
	$(PIP) install --quiet --requirement $(VENV)/cluster.txt
	$(BIN)/python -m tests.stress.cluster_soak --minutes $(MINUTES)

# Kills the launcher at random moments and in the middle of saving, and looks what is left.
KILLS ?= 200
kills: $(STAMP)
	$(BIN)/python -m tests.stress.kill_launcher --times $(KILLS)

# Every speed that the README quotes, Stable-Baselines3's beside them; a quarter of an hour on an otherwise idle machine.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.throughput --json docs/throughput.json --picture docs/throughput.png

# From scratch to 1-1 cleared in 18 of 20 random starts, five seeds; and Stable-Baselines3's PPO.
bench-clear: $(STAMP)
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.time_to_clear --json docs/time_to_clear.json

# The same for what `make train` does.
bench-train: $(STAMP)
	$(BIN)/python -m benchmarks.time_to_clear --expert-flags="--preset quick-expert" --flags="--preset quick-student" \
		--clear-rate 0.7 --sb3-minutes 0 --json docs/time_to_train.json

# What lock-free learning costs.
bench-staleness: $(STAMP)
	$(BIN)/python -m benchmarks.staleness --json docs/staleness.json --picture docs/staleness.png

bench-native: $(STAMP)
	$(BIN)/python -m benchmarks.native_speed

# An agent step with and without each optimisation of the native core; builds it several times, which takes some minutes.
bench-native-optimisations: $(STAMP)
	$(BIN)/python -m benchmarks.native_optimisations

# A million frames of all 32 stages on the native core and on FCEUmm: every byte of RAM, every seventh picture.
native-compare: $(STAMP)
	$(BIN)/python -m benchmarks.native_compare --frames 1000000

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The C++ code's format and clang-tidy's checks. bindings.cpp is left out of the latter: it needs nanobind's headers.
CPP := $(wildcard native/src/*.cpp native/src/*.hpp native/fuzz/*.cpp)
lint-native: $(STAMP)
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/clang-tidy --quiet $(filter-out native/src/bindings.cpp,$(filter %.cpp,$(CPP))) -- -std=gnu++20 -Inative/src

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# Checks before every commit, the same as `make lint`'s.
hooks: $(STAMP)
	$(BIN)/pre-commit install

# The documentation as a site in site/, in an environment of its own.
docs:
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check install --quiet --requirement docs/requirements.txt
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
