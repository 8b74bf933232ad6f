# make restore             what others computed, from DVC's remote
# make reproduce           the environment, then the main job (SCALE=smoke unless params.yaml says otherwise)
# make test                the tests, in minutes       make test-all   those marked slow, too
# make check               linters and types           make lock       pin the environment anew
# make bench               speed against peers, as ratios       make gpu-check what only a GPU can show
# make compare             the tables made here with those in git
# make readme              the graph and tables in README.md and docs/, of what git has
# make docs                the documentation as a site, in site/
SCALE ?=
CLIPS ?=
ROOMS ?=
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

override CLIPS := $(value CLIPS)
override ROOMS := $(value ROOMS)
export CLIPS ROOMS  # for the shell to quote, whatever their names
CONFIG := $(strip train_absent=true $(if $(SCALE),scale=$(SCALE)) $(if $(CLIPS),clips="$$CLIPS") $(if $(ROOMS),rooms="$$ROOMS"))
NAME = $(or $(SCALE),$(shell sed -n 's/^scale: *\([[:alnum:]_-]*\).*/\1/p' params.yaml))
RESULTS = results/$(NAME)
READY := .venv/ready

.PHONY: reproduce compare restore test bench gpu-check test-all check readme docs lock environment

reproduce: $(READY)
	snakemake --cores all --config $(CONFIG)
	@echo "Made, for this scale:"; ls -1 $(RESULTS)/tables/*.md $(RESULTS)/figures/*.png $(RESULTS)/report.pdf $(RESULTS)/listen/index.html
	@apit compare --scale $(NAME)

# The tables that are here with those that git has: the same, within the noise between seeds, or different.
compare: $(READY)
	@apit compare --scale $(NAME)

# In a clone, with a remote that DVC knows: everything that was computed, and none of it to be computed again.
restore: $(READY)
	dvc pull
	@! dvc status | grep 'modified:' || { echo "What came is not what dvc.lock names (above)."; exit 1; }
	snakemake --touch --forceall --quiet all
	@echo "Restored. snakemake figures tables draws them anew, without training."

test: $(READY)
	pytest -n auto --dist loadfile

.venv/peers: $(READY)
	pip install --quiet --no-deps --target $@ asteroid==0.7.0

test-all: $(READY)
	pytest -n auto --dist loadfile -m "slow or not slow"

bench: $(READY) .venv/peers
	python benchmarks/scoring.py $(BRIEF)
	python benchmarks/losses.py $(BRIEF)
	python benchmarks/loading.py $(BRIEF) --asteroid .venv/peers/asteroid/data/fuss_dataset.py

# On a machine with a GPU, in eight minutes at most: what only a GPU can show, as a table.
gpu-check: $(READY)
	python benchmarks/gpu.py

check: $(READY)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	snakefmt --check Snakefile workflow/rules
	snakemake --dry-run --quiet all > /dev/null
	python workflow/readme.py --check
	apit status
	@# Rules need no conda environment or container: they run in .venv, made from requirements.lock.
	snakemake --lint > .snakemake/lint 2>&1 || grep -q 'Lints for rule' .snakemake/lint
	! grep '^ *\* ' .snakemake/lint | grep -v 'Specify a conda environment or container'

environment: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and $(PYTHON) is older: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv .venv
	pip install --quiet --requirement requirements.lock
	pip install --quiet --no-deps --editable .
	@touch $@

readme: $(READY)
	python workflow/readme.py

docs: $(READY)
	python -c 'from apit.cli import LISTING, app; print(app.generate_docs().replace(LISTING, f"```text\n{LISTING}\n```"))' > docs/reference/commands.md
	zensical build --strict

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet "torch==2.13.0" ".[workflow,development]"
	{ head -n 1 requirements.lock; .venv/lock/bin/pip freeze | sed -e '/^apit /d' -e 's/+cpu$$//'; } > requirements.lock.new
	rm -r .venv/lock && mv requirements.lock.new requirements.lock
