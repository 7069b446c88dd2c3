"""How a model answers: the options of every command that lets one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import OptionGroup

if TYPE_CHECKING:
    from lfwrap.engine.contract import GenerationSettings

MAX_NEW_TOKENS = click.option(
    "--max-new-tokens", type=click.IntRange(1), default=512, show_default=True, help="Tokens of the longest answer."
)
generation_options = OptionGroup(
    MAX_NEW_TOKENS,
    click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 is greedy."),
    click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
                 help="Sample from the likeliest tokens that together have this probability."),
    click.option("--top-k", type=click.IntRange(0), default=0, show_default=True,
                 help="Sample from this many of the likeliest tokens; 0 is all."),
    click.option("--seed", type=int, default=42, show_default=True, help="Seed of the sampling."),
)  # fmt: skip
"""Adds the options of `GenerationArgs` to a command."""


@dataclass(frozen=True, slots=True)
class GenerationArgs:
    """How a model answers.

    Attributes:
        max_new_tokens: tokens of the longest answer.
        temperature: of the sampling; 0 is greedy.
        top_p: probability that the tokens to sample from have together.
        top_k: number of tokens to sample from; 0 is all.
        seed: of the sampling.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int

    @property
    def settings(self) -> GenerationSettings:
        """The same for an `AnswerSession`."""
        from lfwrap.engine.contract import GenerationSettings

        return GenerationSettings(self.max_new_tokens, self.temperature, self.top_p, self.seed, self.top_k)
