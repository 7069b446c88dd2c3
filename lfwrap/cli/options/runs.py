"""What the subcommands of `lfwrap runs` share: where runs are, and JSON."""

from __future__ import annotations

from pathlib import Path

import click

RUNS_DIR = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of the runs."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
