"""The progress of a training: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from lfwrap.cli.view import output
from lfwrap.units import format_duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from lfwrap.hardware.usage import GpuMeter
    from lfwrap.run.folder.monitor import Progress
    from lfwrap.run.supervise.attempt import Listener
    from lfwrap.run.supervise.health import HealthWarning
    from lfwrap.run.supervise.stall import Stall
    from lfwrap.run.supervise.supervisor import StopLevel

_LINE_EVERY_S = 60.0
_GPU_EVERY_S = 2.0
_STOPPING = {
    1: "stopping: the engine finishes its update and saves a checkpoint (again to hurry, a third time to kill)",
    2: "stopping without a checkpoint",
    3: "killing the engine",
}


class Pace:
    """Steps and tokens a second, by the clock here: the engine's figures are wrong after a resume."""

    def __init__(self) -> None:
        """Know nothing yet: the clock starts with the first entry."""
        self._first: tuple[float, int, int | None] | None = None
        self._steps_per_s = 0.0
        self._tokens_per_s = 0.0

    def note(self, entry: Progress, now_s: float) -> None:
        """Take in an entry of the log that came at ``now_s``, in seconds of a monotonic clock."""
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


class GpuGauge:
    """GPU memory and utilisation as text, asked for every few seconds."""

    def __init__(self, devices: str | None) -> None:
        """Ask nothing yet; ``devices`` as ``CUDA_VISIBLE_DEVICES`` has them, None for those of this process."""
        self._devices = devices
        self._meter: GpuMeter | None = None
        self._read_s = float("-inf")
        self._text = ""

    def text(self, now_s: float) -> str:
        """``GPU 71.2/79.6 GiB 98%``; empty without a GPU."""
        if now_s - self._read_s >= _GPU_EVERY_S:
            self._read_s = now_s
            if self._meter is None:
                from lfwrap.hardware.usage import GpuMeter

                self._meter = GpuMeter(self._devices)
            usage = self._meter.read()
            self._text = str(usage) if usage else ""
        return self._text


def describe_progress(entry: Progress, pace: Pace, gpu: str = "") -> str:
    """``loss 1.234  lr 1.9e-04  820 tokens/s  GPU 71.2/79.6 GiB 98%  3 min 05 s left``, as far as known."""
    parts = []
    if entry.loss is not None:
        parts.append(f"loss {entry.loss:.4f}")
    if entry.eval_loss is not None:
        parts.append(f"eval loss {entry.eval_loss:.4f}")
    if entry.learning_rate is not None:
        parts.append(f"lr {entry.learning_rate:.2e}")
    if pace.tokens_per_s:
        parts.append(f"{pace.tokens_per_s:,.0f} tokens/s")
    if gpu:
        parts.append(gpu)
    remaining_s = pace.remaining_s(entry)
    if remaining_s and entry.step < entry.total_steps:
        parts.append(f"{format_duration(remaining_s)} left")
    return "  ".join(parts)


class View:
    """Shows a run; the base of all views, which shows nothing."""

    def phase(self, text: str) -> None:
        """The engine begins something: loading, training, saving."""

    def progress(self, entry: Progress) -> None:
        """There is a new entry in its log."""

    def stop(self, level: StopLevel) -> None:
        """A stop has begun, or a harder one."""

    def stall(self, stall: Stall) -> None:
        """The training makes no progress."""

    def warning(self, warning: HealthWarning) -> None:
        """Something is wrong with what is learned."""

    def tick(self) -> None:
        """Show that time has passed."""

    def close(self) -> None:
        """The run has ended."""


class LineView(View):
    """Plain lines: each phase, the first step, a line a minute, the last step."""

    def __init__(self, devices: str | None = None) -> None:
        """Start with nothing shown; ``devices`` are the GPUs to look at."""
        self._pace = Pace()
        self._gpu = GpuGauge(devices)
        self._last_s = float("-inf")

    def phase(self, text: str) -> None:
        """Write the phase as a line."""
        output.say(f"{text} …")

    def progress(self, entry: Progress) -> None:
        """Write a line, unless the last one was just now; the last step always gets one."""
        now_s = time.monotonic()
        self._pace.note(entry, now_s)
        if entry.loss is None and entry.eval_loss is None:
            return
        if entry.step >= entry.total_steps or now_s - self._last_s >= _LINE_EVERY_S:
            self._last_s = now_s
            figures = describe_progress(entry, self._pace, self._gpu.text(now_s))
            output.say(f"step {entry.step}/{entry.total_steps}  {figures}")

    def stop(self, level: StopLevel) -> None:
        """Write what the stop waits for."""
        output.say(_STOPPING[level])

    def stall(self, stall: Stall) -> None:
        """Write the stall as a warning."""
        output.say(f"warning: {stall}")

    def warning(self, warning: HealthWarning) -> None:
        """Write the warning as a line."""
        output.say(f"warning: {warning}")


class BarView(View):
    """A bar with step, loss, learning rate, speed, GPU and time left."""

    def __init__(self, devices: str | None = None) -> None:
        """Draw the bar; it is redrawn by `tick`, without a thread."""
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        self._pace = Pace()
        self._gpu = GpuGauge(devices)
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
        """Set the text before the bar."""
        self._bar.update(self._task, description=text, refresh=True)

    def progress(self, entry: Progress) -> None:
        """Move the bar to this step."""
        now_s = time.monotonic()
        self._pace.note(entry, now_s)
        if entry.loss is None:
            return
        figures = describe_progress(entry, self._pace, self._gpu.text(now_s))
        self._bar.update(
            self._task, completed=entry.step, total=entry.total_steps, description="training", figures=figures
        )

    def stop(self, level: StopLevel) -> None:
        """Write above the bar what the stop waits for."""
        self._bar.console.print(_STOPPING[level])

    def stall(self, stall: Stall) -> None:
        """Write the stall as a warning above the bar."""
        self._bar.console.print(f"warning: {stall}")

    def warning(self, warning: HealthWarning) -> None:
        """Write the warning above the bar."""
        self._bar.console.print(f"warning: {warning}", markup=False, highlight=False)

    def tick(self) -> None:
        """Draw the bar again."""
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
            self._view = View()

    def close(self) -> None:
        """The run has ended."""
        self._call("close")

    def listener(self) -> Listener:
        """This view as `run_attempt` takes it."""
        from lfwrap.run.supervise.attempt import Listener

        return Listener(
            on_phase=lambda text: self._call("phase", text),
            on_progress=lambda entry: self._call("progress", entry),
            on_stop=lambda level: self._call("stop", level),
            on_stall=lambda stall: self._call("stall", stall),
            on_warning=lambda warning: self._call("warning", warning),
            on_tick=lambda: self._call("tick"),
        )


def choose_view(*, quiet: bool, devices: str | None = None) -> SafeView:
    """A bar on a terminal, lines elsewhere, nothing when quiet.

    Args:
        quiet: show nothing.
        devices: the GPUs to look at, as ``CUDA_VISIBLE_DEVICES`` has them; None for those of this process.
    """
    if quiet:
        return SafeView(View())
    return SafeView(BarView(devices) if sys.stderr.isatty() else LineView(devices))
