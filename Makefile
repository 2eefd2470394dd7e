# make demo   a bundled portrait speaks a bundled recording: demo.mp4
# make app    the web page
# make test   the fast tests          make test-slow   the slow ones
# make lint   ruff and mypy           make bench       seconds per second of video; frames per second and core
#
# Each target first builds the virtual environment; that happens once, and again when the requirements change.

PYTHON3 ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin

.PHONY: help setup setup-dev demo app test test-slow lint bench clean

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "moda needs Python 3.11 or newer: make PYTHON3=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON3) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt -e .
	@$(BIN)/python -c 'import cv2, ai_edge_litert.interpreter' || \
	  { echo "System libraries are missing: sudo apt-get install libgl1 libglib2.0-0"; exit 1; }
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	@touch $@

demo: setup
	$(BIN)/moda talk examples/portrait.jpg examples/voice_en.wav -o demo.mp4
	@echo "The video is $(CURDIR)/demo.mp4"

app: setup
	$(BIN)/moda app

test: setup-dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not slow"

test-slow: setup-dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m slow

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python bench/talk.py
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/batch.py
	$(BIN)/python bench/published.py
	$(BIN)/python bench/startup.py

clean:
	rm -rf $(VENV) demo.mp4 build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
