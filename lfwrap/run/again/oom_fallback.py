"""What to try when the memory was not enough: a smaller micro-batch, then checkpointing. Pure.

The effective batch stays what the recipe says, so that the loss curve means the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.engine.keys import ACCUMULATION_KEY, MICRO_KEY, NO_CHECKPOINTING_KEY


@dataclass(frozen=True, slots=True)
class Rung:
    """The next thing to try.

    Attributes:
        changes: engine key → new value.
        reason: what is changed, a sentence.
    """

    changes: Mapping[str, Any]
    reason: str


def next_rung(values: Mapping[str, Any]) -> Rung | None:
    """What to change in the engine's values so that an update needs less memory; None when nothing is left to try."""
    micro, accumulation = int(values.get(MICRO_KEY) or 1), int(values.get(ACCUMULATION_KEY) or 1)
    if micro > 1:
        product = micro * accumulation
        smaller = max(size for size in range(1, micro // 2 + 1) if product % size == 0)
        changes = {MICRO_KEY: smaller, ACCUMULATION_KEY: product // smaller}
        return Rung(
            changes,
            f"micro-batch {micro} → {smaller}, accumulation {accumulation} → {product // smaller}; "
            f"still {product} sequences a process and update",
        )
    if values.get(NO_CHECKPOINTING_KEY):
        return Rung(
            {NO_CHECKPOINTING_KEY: False}, "gradient checkpointing switched on: slower, far smaller activations"
        )
    return None


def with_changes(engine_yaml: str, changes: Mapping[str, Any]) -> str:
    """The YAML's text with top-level values replaced, comments and order kept; keys that are not there come last."""
    text = engine_yaml
    for key, value in changes.items():
        line = f"{key}: {str(value).lower() if isinstance(value, bool) else value}"
        text, count = re.subn(rf"^{key}:.*$", line, text, flags=re.MULTILINE)
        if not count:
            text = f"{text.rstrip()}\n{line}\n"
    return re.sub(r"^# micro-batch × accumulation × processes: .*\n", "", text, flags=re.MULTILINE)
