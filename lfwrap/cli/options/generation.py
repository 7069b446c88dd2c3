"""What every command that lets a model answer shares: how it answers, and how many questions at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--max-new-tokens", type=click.IntRange(1), default=512, show_default=True, help="Longest answer."),
    click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 is greedy."),
    click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
                 help="For sampling: the likeliest tokens that together have this probability."),
    click.option("--top-k", type=click.IntRange(0), default=0, show_default=True,
                 help="For sampling: so many of the likeliest tokens; 0 is all."),
    click.option("--seed", type=int, default=42, show_default=True, help="Of the sampling."),
)  # fmt: skip


def generation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as ``settings``, a `GenerationSettings`."""

    @functools.wraps(command)
    def collected(
        *, max_new_tokens: int, temperature: float, top_p: float, top_k: int, seed: int, **others: Any
    ) -> Any:
        from lfwrap.inference.session import GenerationSettings

        settings = GenerationSettings(max_new_tokens, temperature, top_p, seed, top_k)
        return command(settings=settings, **others)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected
