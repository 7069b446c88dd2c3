"""Write the tables of what the installed LLaMA-Factory takes and writes: ``python -m lfwrap.engine.refresh``."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from lfwrap.engine.arguments import worker_argv
from lfwrap.engine.commands import captured_output
from lfwrap.engine.compat import SUPPORTED_VERSION, TABLES
from lfwrap.engine.contract import Worker
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.facts import FACTS_TABLE, read_engine_facts
from lfwrap.engine.locate import Engine, locate_engine
from lfwrap.errors import LfwrapError
from lfwrap.files import write_bytes

_WORKERS: dict[str, Worker] = {"tool_templates.json": "template_facts", "template_tokens.json": "template_frames"}
_TIMEOUT_S = 300.0


def make_tables(engine: Engine) -> dict[str, bytes]:
    """The content of every table, by its file's name, for an installed engine (half a minute).

    Raises:
        EngineError: the engine can't be imported.
    """
    facts = read_engine_facts(engine).to_json()
    tables = {FACTS_TABLE.name: orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)}
    return tables | {name: _printed_by(engine, worker) for name, worker in _WORKERS.items()}


def _printed_by(engine: Engine, worker: Worker) -> bytes:
    """What a worker prints on the engine's Python."""
    return captured_output(
        [str(engine.python), *worker_argv(worker)],
        environment=engine_environment(model_is_local=True, runs_model=False),
        timeout_s=_TIMEOUT_S,
        what=f"The engine's {worker}",
    )


def write_tables(engine: Engine, folder: Path) -> list[str]:
    """Write every table into a folder; the names of those that changed.

    Raises:
        EngineError: the engine can't be imported.
        PreflightError: the folder can't be written.
    """
    changed = []
    for name, content in make_tables(engine).items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)
            changed.append(name)
    return changed


def main() -> int:
    """Write the tables of the installed engine into the source, and say what changed."""
    try:
        engine = locate_engine()
        folder = TABLES.with_name(engine.version)
        changed = write_tables(engine, folder)
    except LfwrapError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}: {', '.join(changed) or 'nothing'} changed\n")
    if engine.version != SUPPORTED_VERSION:
        sys.stdout.write(
            f"lfwrap reads the tables of {SUPPORTED_VERSION}: set SUPPORTED_VERSION in lfwrap/engine/compat.py, and the"
            " version in pyproject.toml and constraints.txt.\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
