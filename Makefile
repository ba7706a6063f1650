# Every command there is. `make` alone lists them.

# Another Python (3.11 to 3.14) for the virtual environment: make run PYTHON=python3.13
PYTHON ?= python3
export PORT ?= 8000
CREDENTIALS ?= 1000000
SECONDS ?= 20

HERE := .venv/bin
# The system's certificates, so that a company's own authority is believed.
UV := UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 $(HERE)/uv
# mypy reads the settings to know the models; nothing is connected to.
FOR_MYPY := ENVIRONMENT=lint SECRET_KEY=lint FERNET_KEYS=lint FINGERPRINT_KEY=00 \
	DATABASE_URL=postgres://nowhere/none REDIS_URL=redis://nowhere
TEMPLATES := $(wildcard templates)
# Twice as many as there are cores where CI runs: journeys wait for the processes that they start, and
# browsers for their pages. Whoever is done takes over what others have left.
WORKERS ?= 4
RUN_TESTS = $(HERE)/$(if $(MEASURED),coverage run,python) -m pytest -q -n $(WORKERS) --dist worksteal

# What is started here starts other processes: each would compile the same modules again.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

.DEFAULT_GOAL := help
.PHONY: help run test test-long coverage lint check fix bench bench-against bench-admin bench-upload bench-pages bench-verify bench-agent \
	history memory overload \
	siege upgrades failover faults teeth conformance gateways fuzz order lock audit release screenshots pictures translations

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.run-installed ## everything on this machine, with demo data, at http://127.0.0.1:$PORT
	@exec $(HERE)/python -m revcred.launcher

test: .venv/.dev-installed ## the tests, on stores of their own; ARGS="tests/revcred/launcher -k valkey" picks some
	@exec $(RUN_TESTS) -m "not long" $(ARGS)

test-long: .venv/.dev-installed ## many generated cases, and every migration both ways
	@exec $(RUN_TESTS) -m long $(ARGS)

coverage: .venv/.dev-installed ## `make test`, measured: fails if an app reaches less than 95 % of its branches
	@$(HERE)/coverage erase
	@$(MAKE) --no-print-directory test MEASURED=yes
	@$(HERE)/coverage combine -q
	@$(HERE)/coverage report
	@for app in revcred metering storefront; do printf '%s, percent: ' $$app; \
	  $(HERE)/coverage report --include="$$app/*" --format=total --precision=1 --fail-under=95 || exit; done

lint: .venv/.dev-installed ## style, types, the direction of imports, templates
	$(HERE)/ruff check
	$(HERE)/ruff format --check
	$(FOR_MYPY) $(HERE)/mypy
	$(HERE)/lint-imports
	$(if $(TEMPLATES),$(HERE)/djlint --check $(TEMPLATES))
	$(if $(TEMPLATES),$(HERE)/djlint --lint $(TEMPLATES))

check: lint coverage test-long ## what CI asks for, but for `make faults`

fix: .venv/.dev-installed ## mend what a machine can mend
	$(HERE)/ruff check --fix
	$(HERE)/ruff format
	$(if $(TEMPLATES),$(HERE)/djlint --reformat $(TEMPLATES))

bench: .venv/.dev-installed ## how fast it is here, beside this machine's limit; CREDENTIALS= and SECONDS=
	@exec $(HERE)/python -m bench --credentials $(CREDENTIALS) --seconds $(SECONDS)

bench-against: .venv/.dev-installed ## this code beside that of another commit, in turn: COMMIT=v0.1.0 ARGS="--rounds 3"
	@exec $(HERE)/python -m bench.against $(COMMIT) $(ARGS)

bench-upload: .venv/.dev-installed ## how fast lists are taken in, beside others' ways; ARGS="--rows 1000000"
	@exec $(HERE)/python -m bench.uploads $(ARGS)

bench-pages: .venv/.dev-installed ## the storefront's pages for its largest customer: ARGS="--transactions 1000000"
	@exec $(HERE)/python -m bench.storefront_pages $(ARGS)

bench-verify: .venv/.dev-installed ## how fast gateways are told about a call; CREDENTIALS= and SECONDS=
	@exec $(HERE)/python -m bench.checks --credentials $(CREDENTIALS) --seconds $(SECONDS)

bench-agent: .venv/.dev-installed ## how fast the agent imports a log, and that it counts once; ARGS="--lines 100000"
	@exec $(HERE)/python -m bench.agent $(ARGS)

siege: .venv/.dev-installed ## attacks on the production shape behind a real nginx: what gateways notice
	@exec $(HERE)/python -m bench.siege $(ARGS)

upgrades: .venv/.dev-installed ## from the last release to this and back, while gateways post; ARGS=--short
	@exec $(HERE)/python -m bench.upgrades $(ARGS)

failover: .venv/.dev-installed ## to a standby while gateways post; ARGS=--asynchronous shows that a loss is noticed
	@exec $(HERE)/python -m bench.failover $(ARGS)

faults: .venv/.dev-installed ## 200 faults and 100,000 transactions: nothing lost, nothing counted twice
	@exec $(HERE)/python -m bench.faults $(ARGS)

teeth: .venv/.dev-installed ## deliberate breaks of that promise, which `make faults` has to catch
	@exec $(HERE)/python -m bench.faults.teeth $(ARGS)

bench-admin: .venv/.dev-installed ## how long each page of the administration takes at a million, and its queries
	@exec $(HERE)/python -m bench.administration --credentials $(CREDENTIALS) $(ARGS)

history: .venv/.dev-installed ## whether 50 million transactions behind it make it slower; ARGS=
	@exec $(HERE)/python -m bench.history $(ARGS)

memory: .venv/.dev-installed ## whether memory grows in an hour; ARGS="--minutes 5"
	@exec $(HERE)/python -m bench.memory $(ARGS)

overload: .venv/.dev-installed ## whether one gateway's flood drowns another
	@exec $(HERE)/python -m bench.overload $(ARGS)

conformance: .venv/.dev-installed ## published clients, installed and run against it; ARGS="openmeter cloudevents"
	@exec $(HERE)/python -m conformance $(ARGS)

gateways: .venv/.dev-installed ## our recipes and the agent in real gateways; ARGS="--short nginx"
	@exec $(HERE)/python -m conformance.gateways $(ARGS)

fuzz: .venv/.dev-installed ## 1,000 generated requests at each operation of every door; ARGS="--cases 50"
	@exec $(HERE)/python -m conformance.fuzz $(ARGS)

order: .venv/.dev-installed ## 50,000 steps in random order against an oracle; FROM=seed
	@exec $(HERE)/python -m pytest -q tests/metering/test_order.py --steps 50000 --from $(or $(FROM),1)

# uv.lock stays here: it names the index it came from. The exported lists do not.
lock: .venv/.uv ## the newest versions pyproject.toml allows, into requirements/
	$(UV) lock --upgrade
	$(call export,production,--no-dev)
	$(call export,otel,--no-dev --extra otel)
	$(call export,run,--no-dev --group embedded)
	$(call export,dev,--all-groups --all-extras)

audit: .venv/.made ## what is known about the packages that are pinned; ARGS="--database https://…"
	@exec $(HERE)/python -m deploy.audit $(ARGS)

release: .venv/.dev-installed ## checks, an upgrade from the last release, builds, a tag; ARGS="--from v0.1.0"
	@exec $(HERE)/python -m deploy.release $(ARGS)

screenshots: .venv/.dev-installed ## the pictures in the docs, taken anew
	$(HERE)/python docs/screenshots.py

pictures: .venv/.dev-installed ## every page of the storefront at three widths in both themes: ARGS=folder
	$(HERE)/python docs/storefront_pictures.py $(ARGS)

# What is new stands in django.po with an empty text; a test names it.
BABEL := $(HERE)/python -m babel.messages.frontend -q
KEYWORDS := -k gettext_noop -k gettext_lazy -k ngettext_lazy:1,2 -k number_of:2,3 -k pgettext_lazy:1c,2 -k npgettext_lazy:1c,2,3

# From where the texts stand into the catalogues of a folder, which are compiled.
translate = $(BABEL) extract -F $(1) $(KEYWORDS) --add-location file --sort-by-file -o .venv/messages.pot . \
	&& $(BABEL) update -i .venv/messages.pot -d $(2) -D django --width 100 --no-fuzzy-matching \
	  --ignore-obsolete --ignore-pot-creation-date \
	&& $(BABEL) compile -d $(2) -D django

translations: .venv/.dev-installed ## collects texts into both catalogues, and compiles what is translated there
	@$(call translate,deploy/babel.cfg,locale)
	@$(call translate,deploy/babel-metering.cfg,metering/locale)

export = $(UV) export -q --locked --format requirements-txt --no-header --no-annotate \
	--no-emit-project $(2) -o requirements/$(1).txt

# --- The virtual environment: made when missing, filled again when a list has changed ------------

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
	  || { echo "revcred needs Python 3.11 to 3.14. Name one: make run PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "This Python cannot make virtual environments." \
	       "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(HERE)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(HERE)/python -c 'import pip' 2>/dev/null || $(HERE)/python -m ensurepip >/dev/null
	@touch $@

.venv/.uv: .venv/.made requirements/uv.txt
	@$(HERE)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# pip is slower, but may know of an index, from its own configuration, that uv does not.
.venv/.%-installed: requirements/%.txt .venv/.uv
	@echo "Installing $<, once …"
	@$(UV) pip install -q --python $(HERE)/python --require-hashes -r $< 2>.venv/uv.log \
	  || { echo "uv could not (.venv/uv.log); pip takes its time …"; \
	       $(HERE)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<; }
	@touch $@
