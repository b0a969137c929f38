# soundx: every target sets up what it needs first. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ENV ?=
ENV_OPTION := $(if $(ENV),--env=$(ENV))
# no telemetry from Kedro's plugins
export DO_NOT_TRACK := 1
# Material's advertisement for its successor
export NO_MKDOCS_2_WARNING := 1

.PHONY: help setup run test test-all test-browser test-package crash fuzz train eval predict sync publish \
  releases rollback s3 bench bench-s3 bench-heads bench-listen bench-events bench-search bench-review soak viz viz-build app notebook docs docs-serve package lint format \
  hooks lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with exactly what requirements.lock names

$(STAMP): requirements.lock pyproject.toml scripts/bootstrap.sh
	@bash scripts/bootstrap.sh $(VENV) requirements.lock -e .
	@# librosa compiles functions when it is first used: here, rather than while a page waits
	@$(BIN)/python -c 'import librosa, numpy; librosa.feature.melspectrogram(y=numpy.zeros(2048))'
	@touch $@

run: $(STAMP)  ## the main job, ingestion to evaluation, on synthesised clips, offline
	$(BIN)/kedro run --env=demo

test: $(STAMP)  ## run the tests, all but the slow ones (ARGS=... for pytest)
	$(BIN)/python scripts/run_tests.py $(ARGS)

test-all: $(STAMP)  ## run the slow ones as well, and tell the coverage
	$(BIN)/python -m pytest --cov=soundx --cov-report=term:skip-covered $(ARGS)

fuzz: $(STAMP)  ## tamper with sound files, by the thousand (ARGS="--mutants 100000 --seed 1 --formats wav,flac")
	$(BIN)/python -m tests.fuzz $(ARGS)

test-browser: $(STAMP)  ## the viewer in a real browser (SOUNDX_SCREENSHOTS=1 for docs/images)
	bash scripts/browser.sh
	$(BIN)/python -m pytest tests/browser $(ARGS)

crash: $(STAMP)  ## kill runs at random moments, fill disks, turn back clocks (KILLS=50 a pipeline)
	SOUNDX_KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest tests/crash -s $(ARGS)

test-package: $(STAMP)  ## wheel, conf archive, MLflow and make run, in environments of their own
	$(BIN)/python -m pytest tests/packaging $(ARGS)

package: $(STAMP)  ## a wheel and an archive of conf/, in dist/
	$(BIN)/kedro package

train: $(STAMP)  ## train on what was preprocessed (ENV=demo for the demo)
	$(BIN)/kedro run $(ENV_OPTION) --pipelines=training

eval: $(STAMP)  ## evaluate the newest model
	$(BIN)/kedro run $(ENV_OPTION) --pipelines=evaluation

predict: $(STAMP)  ## what is in recordings: make predict INPUT=nights/ (ENV=demo for the demo's model)
	$(BIN)/soundx predict $(INPUT) $(if $(ENV),--model data/$(ENV)) $(ARGS)

sync: $(STAMP)  ## bring data/01_raw up to date with the bucket
	$(BIN)/kedro run --env=s3 --pipelines=ingestion

publish: $(STAMP)  ## publish the newest classifier to the bucket (or folder) of releases
	$(BIN)/kedro run --env=s3 --pipelines=publishing

releases: $(STAMP)  ## list what was published, with accuracy and date
	$(BIN)/kedro releases

rollback: $(STAMP)  ## make an older release the latest again: make rollback VERSION=...
	$(BIN)/kedro rollback $(VERSION)

s3: $(STAMP)  ## a real S3 server on this machine, to try the buckets
	$(BIN)/python scripts/s3_server.py

bench: $(STAMP)  ## time the embedding; SOUNDX_YAMNET=DIR (ARGS=... for cases and rounds)
	$(BIN)/python benchmarks/embedding.py $(ARGS)

bench-s3: $(STAMP)  ## time the sync beside aws s3 sync
	$(BIN)/python benchmarks/s3_sync.py

bench-listen: $(STAMP)  ## time listening with a trained project: ARGS=data; SOUNDX_YAMNET=DIR
	$(BIN)/python benchmarks/listening.py $(or $(ARGS),data)

bench-events: $(STAMP)  ## find planted events with a trained project: ARGS=data
	$(BIN)/python benchmarks/events.py $(or $(ARGS),data)

bench-heads: $(STAMP)  ## ridge, dense and seed, cross-validated; SOUNDX_YAMNET=DIR (ARGS="NAME=CLIPS ...")
	$(BIN)/python benchmarks/heads.py $(ARGS)

bench-search: $(STAMP)  ## time a million windows searched, and heads that learn from answers
	$(BIN)/python benchmarks/search.py $(ARGS)

bench-review: $(STAMP)  ## how many answers each order needs: ARGS=CLIPS; SOUNDX_YAMNET=DIR
	$(BIN)/python benchmarks/review.py $(ARGS)

soak: $(STAMP)  ## 20 sessions of the viewer for 5 minutes, then 100 demo runs in one process
	$(BIN)/python benchmarks/soak.py viewer $(ARGS)
	$(BIN)/python benchmarks/soak.py runs $(ARGS)

viz: $(STAMP)  ## the pipelines as a graph in the browser, with what the last run left
	PYTHONWARNINGS=ignore $(BIN)/kedro viz run --include-hooks $(ENV_OPTION)

viz-build: $(STAMP)  ## the same as a static site in build/viz
	PYTHONWARNINGS=ignore $(BIN)/python scripts/build_viz.py build/viz $(ENV_OPTION)

app: $(STAMP)  ## the viewer in the browser
	KEDRO_ENV=$(ENV) $(BIN)/python -m soundx.viewer

notebook: $(STAMP)  ## JupyterLab with the catalog loaded (ENV=local for your own clips)
	$(BIN)/kedro jupyter lab $(ENV_OPTION)

docs: $(STAMP)  ## the documentation into build/docs, links checked
	$(BIN)/mkdocs build --clean

docs-serve: $(STAMP)  ## the documentation in the browser, anew at every change
	$(BIN)/mkdocs serve --dev-addr=127.0.0.1:8400

lint: $(STAMP)  ## check style, format, types, what is dangerous, and the packages in use
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src scripts benchmarks
	$(BIN)/python scripts/audit.py

format: $(STAMP)  ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(STAMP)  ## check style, types, notebooks and sizes at every git commit
	$(BIN)/pre-commit install

LOCK := pip compile -c requirements.constraints --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet

lock: $(STAMP)  ## resolve pyproject.toml anew into requirements.lock and its two neighbours
	$(BIN)/uv $(LOCK) pyproject.toml --extra dask --extra notebook --extra docs --extra browser --extra dev \
	  --output-file requirements.lock
	$(BIN)/uv $(LOCK) pyproject.toml -c requirements.lock --extra mlflow \
	  --output-file requirements-mlflow.lock
	$(BIN)/uv $(LOCK) --group s3-server -c requirements.lock --output-file requirements-s3.lock

clean:  ## remove the environment, caches and the demo's results; your data stays
	rm -rf $(VENV) .venv-s3 build/viz build/docs build/lib build/bdist.* dist .pytest_cache .mypy_cache .ruff_cache .viz data/demo
	find src tests -name __pycache__ -prune -exec rm -rf {} +
