"""The command that starts the engine, and what it adds to the environment. Pure: no clock, no environment, no I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECRET = re.compile(r"token(?:_|$)|secret|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_PLAIN = re.compile(r"^[\w./@+-]+$")
MASK = "***"


def mask_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with the values of those that are named like secrets replaced by ``***``."""
    return {name: MASK if is_secret(name) else value for name, value in environment.items()}


def is_secret(name: str) -> bool:
    """Whether a variable or a key is named like something that nobody else should read."""
    return _SECRET.search(name) is not None


def mask_override(argument: str) -> str:
    """A ``key=value`` argument with the value masked when its key is named like a secret; anything else as it is."""
    key, equals, _ = argument.partition("=")
    return f"{key}={MASK}" if equals and is_secret(key) else argument


@dataclass(frozen=True, slots=True)
class Command:
    """What is started.

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
        """Plain values for ``command.json``, secrets masked."""
        return {
            "argv": list(self.argv),
            "quoted": self.quoted,
            "cwd": str(self.cwd),
            "environment": mask_secrets(self.environment),
            **({"launch": dict(self.launch)} if self.launch else {}),
        }


def override_arguments(overrides: Mapping[str, object]) -> Sequence[str]:
    """``key=value`` arguments after the YAML, as the engine takes them."""
    return [f"{key}={_spell(value)}" for key, value in overrides.items()]


def _spell(value: object) -> str:
    """The engine reads each value as YAML: text with other characters than a plain path's is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if _PLAIN.match(text) else "'" + text.replace("'", "''") + "'"
