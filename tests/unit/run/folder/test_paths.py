"""What a run's files are called is written down in one module; everybody else asks it."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path, PurePosixPath

import lfwrap
from lfwrap.run.folder import paths
from lfwrap.run.folder.paths import AttemptPaths, RankPaths, RunPaths

ROOT = Path(lfwrap.__file__).parent
ELSEWHERE = {".lock", "output", "stdout.log", "stderr.log", "report.html"}
"""Names that files of other folders have, too."""


def spelled_names() -> set[str]:
    """The names of a run's files and folders, as its paths have them."""
    made = [
        getattr(folder, name)
        for folder in (RunPaths(Path("R")), AttemptPaths(Path("A")), RankPaths(Path("K")))
        for name, member in inspect.getmembers(type(folder))
        if isinstance(member, property) and name not in {"name", "number"}
    ]
    attempt = AttemptPaths(Path("A"))
    inner = [RunPaths(Path("R")).set_aside(0).parent, attempt.node(0).root.parent, attempt.rank(0).root.parent]
    return {path.name for path in (*made, *inner)} - ELSEWHERE


def joined_names(module: Path) -> set[str]:
    """The last part of each text that a module joins to a folder by ``/``."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    joined = [node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    texts = [each.value for each in joined if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return {PurePosixPath(text).name for text in texts}


def test_no_other_module_spells_the_name_of_a_runs_file() -> None:
    names = spelled_names()
    assert {"record.json", "launch.json", "job.slurm", "broken", "nodes", "ranks", "probe.json"} <= names
    own = Path(paths.__file__)
    modules = [each for each in ROOT.rglob("*.py") if each != own and not each.is_relative_to(ROOT / "worker")]
    found = {str(each.relative_to(ROOT)): names & joined_names(each) for each in modules}
    assert {module: spelled for module, spelled in found.items() if spelled} == {}
