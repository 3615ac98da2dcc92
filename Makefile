# Every target sets up what it needs: a fresh machine has only Python 3.11 or newer, make and a C++ compiler. Where the
# native emulator core can't be built, the slower engines do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup train eval test soak lint format
.PHONY: bench bench-clear bench-staleness bench-native bench-native-shortcuts native-compare

setup: $(STAMP)

NATIVE := $(wildcard native/src/* native/a3g_native/*) native/CMakeLists.txt native/pyproject.toml

$(STAMP): requirements.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet ./native 2> $(VENV)/native.log \
		|| echo "The native core was not built (no C++ compiler? see $(VENV)/native.log); fceumm or nes-py will be used."
	touch $@

# Trains stage 1-1 from scratch until the tester clears it in 19 of 20 random starts.
train: $(STAMP)
	$(BIN)/python main.py --preset quick --env SuperMarioBros-1-1-v0 --until-cleared --test-episodes 20 --clear-rate 0.95

# Plays stage 1-1 a hundred times with the shipped weights.
eval: $(STAMP)
	$(BIN)/python gym_eval.py --env SuperMarioBros-1-1-v0 --num-episodes 100

test: $(STAMP)
	$(BIN)/python -m pytest

# A run with a fault every ten seconds, and whether all that it promises held.
MINUTES ?= 30
soak: $(STAMP)
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

# Every speed that the README quotes, Stable-Baselines3's beside them; a quarter of an hour on an otherwise idle machine.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/throughput.py --json docs/throughput.json --picture docs/throughput.png

# From scratch to 1-1 cleared in 18 of 20 random starts, five seeds; and Stable-Baselines3's PPO.
bench-clear: $(STAMP)
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/time_to_clear.py --json docs/time_to_clear.json

# What lock-free learning costs.
bench-staleness: $(STAMP)
	$(BIN)/python benchmarks/staleness.py --json docs/staleness.json --picture docs/staleness.png

bench-native: $(STAMP)
	$(BIN)/python benchmarks/native_speed.py

# An agent step with and without each shortcut of the native core; builds it several times, which takes some minutes.
bench-native-shortcuts: $(STAMP)
	$(BIN)/python benchmarks/native_shortcuts.py

# A million frames of all 32 stages on the native core and on FCEUmm: every byte of RAM, every seventh picture.
native-compare: $(STAMP)
	$(BIN)/python benchmarks/native_compare.py --frames 1000000

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
