"""The progress of answering: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from lfwrap.cli.view import output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lfwrap.inference.model_pool import AnsweringListener

_LINES = 10


class AnswerProgress:
    """Shows who has answered how many questions. Use it as a context: on leaving, the bar is gone."""

    def __init__(self) -> None:
        """Know nobody yet; a bar is drawn when stderr is a terminal."""
        self._bar: Progress | None = _make_bar() if sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Draw the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def listener(self) -> AnsweringListener:
        """This view as `compare` and `evaluate` take it."""
        from lfwrap.inference.model_pool import AnsweringListener

        return AnsweringListener(self.note, self.loading, self.ready, self.advance)

    def note(self, text: str) -> None:
        """Write a line, above the bar where there is one."""
        if self._bar is None:
            output.say(text)
        else:
            self._bar.console.print(text, markup=False)

    def loading(self, model: str, names: Sequence[str]) -> None:
        """Say that a model begins to load, and for whom."""
        self.note(f"loading {model} for {', '.join(names)} …")

    def ready(self, event: Mapping[str, Any]) -> None:
        """Say how long the load took, and the weights' type and device."""
        self.note(f"loaded in {event['seconds']:.0f} s: {event['dtype']} on {event['device']}")

    def advance(self, name: str, done: int, total: int) -> None:
        """Show how many of a model's answers are there; without a terminal, a line for each tenth of them."""
        if self._bar is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=total)
            self._bar.update(self._tasks[name], completed=done)
            return
        if done == total or done - self._last.get(name, 0) >= max(1, total // _LINES):
            self._last[name] = done
            output.say(f"{name}: {done}/{total}")


def _make_bar() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=output.console(),
        transient=True,
    )
