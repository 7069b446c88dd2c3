"""How a running training looks: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from lfwrap.cli import output
from lfwrap.units import format_duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from lfwrap.run.attempt import Listener
    from lfwrap.run.monitor import Progress
    from lfwrap.run.supervisor import StopLevel

_LINE_EVERY_S = 5.0
_LINES_A_RUN = 10
_STOPPING = {
    1: "stopping: the engine finishes its update and saves a checkpoint (again to hurry, a third time to kill)",
    2: "stopping without a checkpoint",
    3: "killing the engine",
}


class Pace:
    """Steps and tokens a second, by our own clock: the engine's figures are wrong after a resume."""

    def __init__(self) -> None:
        """Start the clock."""
        self._first: tuple[float, int, int | None] | None = None
        self._steps_per_s = 0.0
        self._tokens_per_s = 0.0

    def note(self, entry: Progress, now_s: float) -> None:
        """Take an entry of the log in."""
        if self._first is None:
            self._first = (now_s, entry.step, entry.tokens)
            return
        start_s, step, tokens = self._first
        elapsed_s = now_s - start_s
        if elapsed_s > 0 and entry.step > step:
            self._steps_per_s = (entry.step - step) / elapsed_s
            if entry.tokens is not None and tokens is not None:
                self._tokens_per_s = (entry.tokens - tokens) / elapsed_s

    @property
    def tokens_per_s(self) -> float:
        """Input tokens a second; 0 while unknown."""
        return self._tokens_per_s

    def remaining_s(self, entry: Progress) -> float | None:
        """Seconds to the last step; None while unknown."""
        return (entry.total_steps - entry.step) / self._steps_per_s if self._steps_per_s else None


def describe_progress(entry: Progress, pace: Pace) -> str:
    """``loss 1.234  lr 1.9e-04  820 tokens/s  3 min 05 s left``, as far as known."""
    parts = []
    if entry.loss is not None:
        parts.append(f"loss {entry.loss:.4f}")
    if entry.eval_loss is not None:
        parts.append(f"eval loss {entry.eval_loss:.4f}")
    if entry.learning_rate is not None:
        parts.append(f"lr {entry.learning_rate:.2e}")
    if pace.tokens_per_s:
        parts.append(f"{pace.tokens_per_s:,.0f} tokens/s")
    remaining_s = pace.remaining_s(entry)
    if remaining_s and entry.step < entry.total_steps:
        parts.append(f"{format_duration(remaining_s)} left")
    return "  ".join(parts)


class View(Protocol):
    """Something that shows a run."""

    def phase(self, text: str) -> None:
        """What the engine does now."""

    def progress(self, entry: Progress) -> None:
        """A new entry of its log."""

    def stop(self, level: StopLevel) -> None:
        """A stop has begun."""

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """The run has ended."""


class QuietView:
    """Shows nothing."""

    def phase(self, text: str) -> None:
        """Nothing."""

    def progress(self, entry: Progress) -> None:
        """Nothing."""

    def stop(self, level: StopLevel) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LineView:
    """Plain lines: each phase, then a tenth of the steps or a few seconds apart, whichever is rarer."""

    def __init__(self) -> None:
        """Start with nothing shown."""
        self._pace = Pace()
        self._last_s = 0.0
        self._last_step = 0

    def phase(self, text: str) -> None:
        """One line."""
        output.say(f"{text} …")

    def progress(self, entry: Progress) -> None:
        """One line, unless the last one was just now; the last step always gets one."""
        now_s = time.monotonic()
        self._pace.note(entry, now_s)
        is_last = entry.step >= entry.total_steps
        is_due = entry.step - self._last_step >= max(1, entry.total_steps // _LINES_A_RUN)
        if entry.loss is None and entry.eval_loss is None:
            return
        if is_last or (is_due and now_s - self._last_s >= _LINE_EVERY_S):
            self._last_s, self._last_step = now_s, entry.step
            output.say(f"step {entry.step}/{entry.total_steps}  {describe_progress(entry, self._pace)}")

    def stop(self, level: StopLevel) -> None:
        """One line."""
        output.say(_STOPPING[level])

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class BarView:
    """A bar with step, loss, learning rate, speed and time left."""

    def __init__(self) -> None:
        """Draw the bar; it is redrawn by `tick`, without a thread."""
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        self._pace = Pace()
        self._bar: Bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=output.console(),
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=None, figures="")

    def phase(self, text: str) -> None:
        """The text before the bar."""
        self._bar.update(self._task, description=text, refresh=True)

    def progress(self, entry: Progress) -> None:
        """Move the bar."""
        self._pace.note(entry, time.monotonic())
        if entry.loss is None:
            return
        figures = describe_progress(entry, self._pace)
        self._bar.update(
            self._task, completed=entry.step, total=entry.total_steps, description="training", figures=figures
        )

    def stop(self, level: StopLevel) -> None:
        """A line above the bar."""
        self._bar.console.print(_STOPPING[level])

    def tick(self) -> None:
        """Redraw."""
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


class SafeView:
    """Keeps a view that can no longer write (a closed terminal) from ending the run."""

    def __init__(self, view: View) -> None:
        """Show through ``view`` as long as that works."""
        self._view: View = view

    def _call(self, name: str, *arguments: object) -> None:
        try:
            getattr(self._view, name)(*arguments)
        except OSError:
            self._view = QuietView()

    def close(self) -> None:
        """The run has ended."""
        self._call("close")

    def listener(self) -> Listener:
        """What to hand to `run_attempt`."""
        from lfwrap.run.attempt import Listener

        return Listener(
            on_phase=lambda text: self._call("phase", text),
            on_progress=lambda entry: self._call("progress", entry),
            on_stop=lambda level: self._call("stop", level),
            on_tick=lambda: self._call("tick"),
        )


def choose_view(*, quiet: bool) -> SafeView:
    """A bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        return SafeView(QuietView())
    return SafeView(BarView() if sys.stderr.isatty() else LineView())
