# What one does with a checkout; `just` alone lists it. `just` itself is on PyPI as rust-just.
set shell := ["bash", "-euo", "pipefail", "-c"]

python := env("PYTHON", "python3")
bin := justfile_directory() / ".venv/bin"

# List the recipes of this file
default:
    @just --list --unsorted

# Make .venv and install lfwrap with EXTRAS into it, at the pinned versions (nothing to do when they are there)
setup extras="demo":
    #!/usr/bin/env bash
    set -euo pipefail
    [ -x {{bin}}/python ] || {{python}} -m venv .venv
    stamp=.venv/.lfwrap-{{replace(extras, ",", "-")}}
    if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ]; then exit 0; fi
    echo "Installing lfwrap[{{extras}}] into .venv: about 8 GB with torch, a few minutes ..." >&2
    DS_BUILD_OPS=0 {{bin}}/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[{{extras}}]'
    touch "$stamp"

# See it work: bundled data → tuned SmolLM2-135M → answers side by side → merged model
demo *arguments: (setup "demo")
    {{bin}}/lfwrap demo {{arguments}}

# All tests, the engine's included
test *arguments: (setup "all,dev")
    {{bin}}/python -m pytest {{arguments}}

# The tests that need no engine: two to three minutes
test-fast *arguments: (setup "all,dev")
    {{bin}}/python -m pytest -m "not engine" -n 2 {{arguments}}

# Rules of style and of imports
lint: (setup "all,dev")
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/lint-imports --no-cache

# Types
type: (setup "all,dev")
    {{bin}}/mypy

# Put the code into shape
fmt: (setup "all,dev")
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

# Write the generated pages of docs/reference
docs: (setup "all,dev")
    {{bin}}/python docs/generate.py

# Write the tables of what the installed engine takes and writes (lfwrap/engine/tables)
engine-tables: (setup "all,dev")
    {{bin}}/python -m lfwrap.engine.refresh

# Benchmarks: ratios against peers in the same run
bench name="prepare_data" *arguments: (setup "all,dev")
    {{bin}}/python benchmarks/{{name}}.py {{arguments}}
