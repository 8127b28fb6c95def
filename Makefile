# One command for each habit. `make demo` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
# The distribution's FFmpeg, where there is one: older than the bundled one, and that of the worker's
# image. What stands on FFmpeg is tested with both.
SECOND_FFMPEG ?= $(wildcard /usr/bin/ffmpeg)
SECOND_TESTS := $(addprefix tests/integration/media/test_,hostile.py encoders.py nvenc_driver.py full_disk.py \
  camera.py images.py add_audio.py soundtrack.py verify.py caption_style.py)
# Tools find each other (buf calls its plugins) and the project through the virtual environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# None of the targets in plain words is a file.
.PHONY: $(shell grep -oE '^[a-z-]+:' Makefile | tr -d :)

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/ok: requirements-dev.txt pyproject.toml hatch_build.py gpu_worker/media/native/resample.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "API GPU needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make virtual environments: on Debian, apt-get install python3-venv"; exit 1; }
	@echo "Installing the pinned dependencies into .venv ..."
	@$(BIN)/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/ok ## make real videos on this machine: no FFmpeg, no GPU, no account needed
	@python demo/run.py

demo-runpod: .venv/ok ## two RunPod workers, emulated on this machine: scaling from none and back
	@python demo/on_runpod.py

demo-restart: .venv/ok ## kill the service in the middle of a job; its bar goes on to the end
	@python demo/restart.py

# Tests wait for processes more than they compute: three at a time keep two cores busy.
# A test that fails on a crowded machine is tried again, visibly: its first failure is reported.
PYTEST := pytest -n 3 --dist loadfile --reruns 2 -r R
test: .venv/ok check ## everything that CI runs
	@$(PYTEST)
	@if python -c 'import atheris' 2> /dev/null; then $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=30; \
	  else echo "NOT FUZZED by coverage: atheris has no wheel for this Python and machine."; fi
ifneq ($(SECOND_FFMPEG),)
	@echo "The media engine again, with $(SECOND_FFMPEG):"
	@APIGPU_TEST_FFMPEG=$(SECOND_FFMPEG) $(PYTEST) $(SECOND_TESTS)
else
	@echo "NOT TESTED with a second FFmpeg: there is no /usr/bin/ffmpeg (Debian: apt-get install ffmpeg)."
endif

bench: .venv/ok ## measure every promise against its baseline, in one run
	@python -m bench

bench-coldstart: .venv/ok ## measure the start of a RunPod worker against the bare SDK's
	@python -m bench.coldstart

SOAK_SECONDS ?= 60
bench-jobs: .venv/ok ## measure the service under load beside a bare gRPC server (SOAK_SECONDS=60)
	@python -m bench.jobs --soak-seconds $(SOAK_SECONDS)

gpu-check: .venv/ok ## try every encoder on this machine, and compare
	@python -m bench.gpu_check

test-images: .venv/ok ## build the images and do a job through the whole stack (root, Debian; 2-3 min)
	@docker/rehearsal/run.sh

test-azure: .venv/ok ## what is tested on S3 on Azure too: on Azurite, which this installs (npm, 365 MB)
	@npm install --prefix build/azurite --no-audit --no-fund --loglevel=error azurite@3.37.0
	@pytest -q tests/integration/files -k azure

FUZZ_SECONDS ?= 60
FUZZED := contract captions media questions
fuzz: .venv/ok ## fuzz each parser of strangers' bytes for FUZZ_SECONDS (60), guided by coverage
	@echo "Fuzzing $(FUZZED), $(FUZZ_SECONDS) s each:"
	@printf '%s\n' $(FUZZED) | xargs -P 2 -I TARGET python -m fuzz TARGET $(FUZZ_SECONDS)

audit: .venv/ok ## ask PyPI for known holes in the pinned dependencies (needs the network)
	@python tools/audit.py

# As part of `check`: asked anew when a pin has changed, as in every fresh clone. Where nobody can be
# asked (2) that is said, and no reason to stop working; `make audit` fails then.
build/audited: requirements.txt docker/worker.txt tools/audit.py | .venv/ok
	@python tools/audit.py || test $$? = 2
	@mkdir -p build && touch $@

chaos: .venv/ok ## hundreds of small jobs on both databases while everything dies, fills up or jumps (15-40 min)
	@python -m tests.chaos --database sqlite
	@python -m tests.chaos --database postgres

serve: .venv/ok ## start the service on localhost:50051
	@apigpu serve

check: .venv/ok contract build/audited ## contract, formatting, lint, types, architecture, known holes, secrets
	@ruff format --check . && ruff check .
	@mypy
	@lint-imports
	@python tools/settings_table.py --check
	@git ls-files -z | xargs -0 detect-secrets-hook --no-verify --exclude-files '^(requirements|gen/|docker/.*\.txt)|\.(binpb|ttf|otf|jpg|png|mp3)$$' \
	  --disable-plugin KeywordDetector --disable-plugin HexHighEntropyString \
	  --disable-plugin Base64HighEntropyString --disable-plugin BasicAuthDetector
	@python tools/states_page.py --check
	@python tools/api_page.py --check
	@! command -v hadolint >/dev/null || hadolint --ignore DL3008 docker/*.Dockerfile docker/*/*.Dockerfile
	@! command -v docker-compose >/dev/null || X_API_KEY=x POSTGRES_PASSWORD=x S3_SECRET_KEY=x docker-compose -f docker/compose.yaml config -q

.proto-deps/ok: requirements-dev.txt tools/proto_deps.py | .venv/ok
	@python tools/proto_deps.py .proto-deps && touch $@

contract: .proto-deps/ok
	@buf lint
	@buf format --diff --exit-code proto
	@buf breaking proto --against proto/released.binpb
	@python tools/generate.py --check

gen: .proto-deps/ok ## regenerate gen/ from proto/, and pages of docs/ from the code
	@buf format -w proto
	@python tools/generate.py
	@python tools/settings_table.py
	@python tools/states_page.py
	@python tools/api_page.py

LOCK = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: .venv/ok ## resolve the dependencies anew
	@$(LOCK) pyproject.toml --group dev -o requirements-dev.txt
	@$(LOCK) pyproject.toml -c requirements-dev.txt -o requirements.txt
	@python tools/requirements_of.py orchestrator client | $(LOCK) - -c requirements-dev.txt -o docker/orchestrator.txt
	@python tools/requirements_of.py worker runpod | $(LOCK) - -c requirements-dev.txt -o docker/worker.txt
	@printf '%s\n' uv==$(UV_VERSION) hatchling ziglang | $(LOCK) - -c requirements-dev.txt -o docker/build.txt

format: .venv/ok ## format and fix what can be fixed
	@ruff format . && ruff check --fix .

clean: ## remove everything that the commands above made
	@rm -rf .venv .proto-deps build dist demo/output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
