"""The environment of the engine's processes: lfwrap's own, what each of them needs, and the stated differences."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType

from lfwrap.hardware.host_facts import has_busy_neighbours

UTF8_VARIABLES: Mapping[str, str] = MappingProxyType({"PYTHONUTF8": "1"})
"""GBK or ASCII locales break the engine's reading of UTF-8 files (LF#2877)."""

ENGINE_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        **UTF8_VARIABLES,
        # Log lines reach the file when they are written, not 8 KiB later.
        "PYTHONUNBUFFERED": "1",
        # Loader workers are forked after the tokenizer was used: it would warn and switch itself off then.
        "TOKENIZERS_PARALLELISM": "false",
    }
)
"""What every process of the engine needs, whatever it does."""

PARALLEL_TOKENIZER: Mapping[str, str] = MappingProxyType({"TOKENIZERS_PARALLELISM": "true"})
"""For a process that encodes many rows and forks none: its tokenizer uses all cores."""


def engine_environment(
    *,
    model_is_local: bool,
    runs_model: bool = True,
    added: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The whole environment of one of the engine's processes.

    Args:
        model_is_local: the model lies in a folder: the hub is not asked, unless the user's own environment says so.
        runs_model: a model is computed with, so its threads must wait in the right way (`waiting_policy`).
        added: what this process needs besides; goes before everything else.
        without: variables that it must not see.
        environ: the environment to begin with.
    """
    environment = {**environ, **ENGINE_VARIABLES}
    if runs_model:
        environment |= waiting_policy(environ)
    if model_is_local:
        environment.setdefault("HF_HUB_OFFLINE", "1")
    for name in without:
        environment.pop(name, None)
    return environment | dict(added or {})


def waiting_policy(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """How a model's threads wait for each other: a variable to add, or nothing.

    Where other programs use the cores, they sleep: spinning ones made answers on a CPU five to ten times slower there.
    Alone on the machine, spinning threads are up to half as fast again. To see which it is takes 0.2 s, once.
    """
    if "OMP_WAIT_POLICY" in environ or not machine_was_busy():
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}


@functools.cache
def machine_was_busy() -> bool:
    """Whether this machine had other work when the first process was started."""
    return has_busy_neighbours()
