"""How many modules of lfwrap a command walks through: walks.py [--tree CHECKOUT] [--names].

Two commands run under `sys.setprofile`: the preparation of a bundled CSV table in one job, and a dry run of the paper
recipe, which ends with "no engine" after the command line was built. A module counts as entered when one of its
functions is called; what runs while it is imported, comprehensions, and methods that a dataclass makes do not count. A
hand-over is a pair of functions of two modules, the one calling the other. ``--tree`` counts in another checkout, such
as an earlier commit's; commit 85ceb3f has 43 modules, 144 functions and 87 hand-overs for the table, 73 modules, 413
functions, 154 module edges and 420 hand-overs for the dry run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

COMMANDS = {
    "prepare-data, a CSV": "prepare-data data/law_zh.csv --out {out} --name law --jobs 1 --no-engine-check",
    "train --dry-run": "train recipes/paper.yaml --dry-run --hardware h100-80gb",
}


@dataclass
class Walk:
    """What a command called.

    Attributes:
        functions: code objects of lfwrap that were entered.
        hand_overs: pairs of them, caller and called, in two modules.
    """

    functions: set[tuple[str, str]] = field(default_factory=set)
    hand_overs: set[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=set)

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note one call; `sys.setprofile` calls this."""
        here = _named(frame) if event == "call" else None
        if here is None:
            return
        self.functions.add(here)
        caller = frame.f_back
        while caller is not None and _named(caller) is None and not _is_importing(caller):
            caller = caller.f_back
        there = _named(caller) if caller is not None else None
        if there is not None and there[0] != here[0]:
            self.hand_overs.add((there, here))

    @property
    def modules(self) -> set[str]:
        """The modules entered."""
        return {module for module, _ in self.functions}

    @property
    def edges(self) -> set[tuple[str, str]]:
        """Pairs of modules, the one calling the other."""
        return {(caller[0], called[0]) for caller, called in self.hand_overs}


def _named(frame: FrameType) -> tuple[str, str] | None:
    """Module and name of a function of lfwrap; None for others, for a module's and a class's body."""
    module = str(frame.f_globals.get("__name__", ""))
    code: CodeType = frame.f_code
    is_function = bool(code.co_flags & 0x1)  # CO_OPTIMIZED: a function's locals are no dictionary
    is_written = code.co_filename != "<string>" and not code.co_name.startswith("<")  # no dataclass's, no comprehension
    if not (is_function and is_written) or not (module == "lfwrap" or module.startswith("lfwrap.")):
        return None
    return module, code.co_qualname


def _is_importing(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>"


def walk(command: str, out: Path) -> Walk:
    """Run one command in this process and note what it calls; what it prints is thrown away."""
    run = importlib.import_module("lfwrap.cli.app").run
    found = Walk()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sys.setprofile(found.note)
        try:
            run(command.format(out=out).split())
        finally:
            sys.setprofile(None)
    return found


def hide_engine() -> None:
    """Let the dry run end where it says that there is no engine: the same walk on any machine."""
    sys.modules["llamafactory"] = None  # type: ignore[assignment]  # as the import system says "not there"
    os.environ["PATH"] = ""
    os.environ.pop("LFWRAP_ENGINE_PYTHON", None)


def main() -> None:
    """Print a line for each command, each walked in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tree", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout to count in"
    )
    parser.add_argument("--names", action="store_true", help="print the names of the modules, too")
    options = parser.parse_args()
    tree = options.tree.resolve()
    sys.path.insert(0, str(tree))
    os.chdir(tree)
    hide_engine()
    for name, command in COMMANDS.items():
        sys.stdout.flush()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = walk(command, Path(folder) / "law")
        imported = sum(module == "lfwrap" or module.startswith("lfwrap.") for module in sys.modules)
        print(
            f"{name}: {len(found.modules)} modules entered of {imported} imported, {len(found.functions)} functions, "
            f"{len(found.edges)} module edges, {len(found.hand_overs)} hand-overs"
        )
        if options.names:
            print("  " + " ".join(sorted(module.removeprefix("lfwrap.") for module in found.modules)))
        return


if __name__ == "__main__":
    main()
