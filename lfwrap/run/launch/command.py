"""The command that starts the engine, and what it adds to the environment; nothing here reads the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.masking import mask_secrets

_PLAIN = re.compile(r"^[\w./@+-]+$")


@dataclass(frozen=True, slots=True)
class Command:
    """The command that a run starts.

    Attributes:
        argv: program and arguments.
        cwd: the working directory.
        environment: variables that are added to lfwrap's own environment, in the order to show them.
        files: files that it reads and lfwrap writes before the start, such as a hostfile or a job script.
        launch: what another node needs to start its part; empty on a single node.
    """

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    launch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quoted(self) -> str:
        """The command as a POSIX shell takes it, without the environment."""
        return shlex.join(self.argv)

    @property
    def quoted_environment(self) -> str:
        """The added variables as a shell takes them before a command, secrets masked."""
        return " ".join(f"{name}={shlex.quote(value)}" for name, value in mask_secrets(self.environment).items())

    def to_json(self) -> dict[str, Any]:
        """The command as ``command.json`` keeps it, secrets masked."""
        return {
            "argv": list(self.argv),
            "quoted": self.quoted,
            "cwd": str(self.cwd),
            "environment": mask_secrets(self.environment),
            **({"launch": dict(self.launch)} if self.launch else {}),
        }


def override_arguments(overrides: Mapping[str, object]) -> Sequence[str]:
    """``key=value`` arguments after the YAML, as the engine takes them.

    >>> override_arguments({"do_eval": False, "output_dir": "/my runs"})
    ['do_eval=false', "output_dir='/my runs'"]
    """
    return [f"{key}={_spell(value)}" for key, value in overrides.items()]


def _spell(value: object) -> str:
    """The engine reads each value as YAML: text with other characters than a plain path's is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if _PLAIN.match(text) else "'" + text.replace("'", "''") + "'"
