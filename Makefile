# Two commands do everything: `make demo` (a voice from recordings) and `make test`.
# Variables: PYTHON (the interpreter to build .venv with), EXTRAS (what `make install` installs
# beside speaking, see pyproject.toml), TORCH_INDEX (an index of CPU builds of torch, where the
# default registry would bring CUDA), DEMO_ARGS (see tools/demo.py --help).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= train
TORCH_INDEX ?=
TESTED := train,evaluate,codecs,ru,numbers,zh,ja,ar,markdown,http,wyoming,zeroconf,hub,dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on

.PHONY: demo install shim judges check format messages test test-long bench bench-train house clean

# The demo ends with an opinion of DistillMOS; where that cannot be had, without one.
demo: $(VENV)/.installed-train
	$(if $(findstring --no-scores,$(DEMO_ARGS)),,-$(MAKE) --no-print-directory $(VENV)/judges/.installed)
	$(BIN)/python tools/demo.py $(DEMO_ARGS)

install: $(VENV)/.installed-$(EXTRAS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Training takes 60 packages and 1.4 GB (torch for the CPU is 0.8 of it), the tests 170 and 2.8 GB.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) what these want: speaking, $*"
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch==2.13.0)
	$(PIP) -c constraints.txt -e '.[$*]'
	$(BIN)/python -m compileall -q src/piper
	touch $@

# A wheel of the name piper-tts that holds no code, for programs that ask pip for it.
shim:
	$(PYTHON) -m pip wheel -q --disable-pip-version-check --no-deps -w dist ./tools/shim
	rm -rf tools/shim/build tools/shim/*.egg-info

check: $(VENV)/.installed-$(TESTED)
	# Without its cache: which imports are of the house is remembered per file, and wrongly once a
	# module beside it comes or goes.
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

messages: $(VENV)/.installed-$(TESTED)
	$(BIN)/python tools/update_messages.py

format: $(VENV)/.installed-$(TESTED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Files in their order: sorted by their number of tests, as pytest-xdist would have them, those with
# few long tests come last, and one process waits for the other. Random inputs are the same each time
# here, and new ones in `make test-long`.
test: $(VENV)/.installed-$(TESTED) $(VENV)/.browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-seed=0

# The tests of the review's page want a real browser; Debian's needs no download of Playwright's.
$(VENV)/.browser: $(VENV)/.installed-$(TESTED)
	command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq \
	  && apt-get install -y -qq --no-install-recommends chromium; } \
	  || { echo "The tests want a browser: install chromium, then run make test again." >&2; exit 1; }
	touch $@

# Networks of others that judge speech (DistillMOS, Resemblyzer): without their dependencies, which
# would bring another torch's audio and numba, and in a folder of their own. One list names them.
JUDGES = "from piper.train.judges import REQUIREMENTS; print(*REQUIREMENTS)"
judges: $(VENV)/.installed-train,evaluate $(VENV)/judges/.installed

$(VENV)/judges/.installed: src/piper/train/judges.py | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/judges $$(PYTHONPATH=src $(BIN)/python -c $(JUDGES))
	touch $@

test-long: $(VENV)/.installed-$(TESTED) judges
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[ray,long]'
	$(BIN)/python -m pytest -m "long or hypothesis" --timeout 1800

# The figures of speaking beside others': VOICE, and PEERS as options that name their Pythons.
VOICE ?= demo/ru_RU-demo-quick.onnx
PEERS ?=
# Bytecode as after an ordinary installation, lest starts with and without it be compared.
bench: $(VENV)/.installed-$(TESTED)
	$(BIN)/python -m compileall -q src/piper
	$(BIN)/python benchmarks/synthesis.py --model $(VOICE) $(PEERS)

# The figures of training beside piper-tts: DATASET as tools/datasets/fetch_festvox_ru.py makes one.
DATASET ?= recordings
bench-train: $(VENV)/.installed-$(TESTED)
	$(BIN)/python benchmarks/train_step.py --dataset $(DATASET) $(PEERS)

# How large the code is and how many walls it has; HOUSE_ARGS="--trace voice.onnx" adds two calls.
house: $(VENV)/.installed-$(TESTED)
	$(BIN)/python tools/house.py $(HOUSE_ARGS)

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache
