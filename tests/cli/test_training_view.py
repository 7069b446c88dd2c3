"""How a running training looks, on a terminal and elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lfwrap.cli.view import output, training
from lfwrap.cli.view.training import GpuGauge, LineView, Pace, SafeView, choose_view, describe_progress
from lfwrap.run.folder.monitor import Progress
from lfwrap.run.supervise.health import HealthWarning
from lfwrap.run.supervise.stall import Stall
from lfwrap.run.supervise.supervisor import StopLevel


def entry(step: int, total: int = 100, **values: float) -> Progress:
    return Progress(step, total, **({"loss": 2.0, "learning_rate": 1e-4} | values))  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    return now


def test_pace_counts_from_the_first_entry_so_that_a_resume_is_not_praised() -> None:
    pace = Pace()
    pace.note(entry(50, tokens=1_000_000), 10.0)
    assert pace.remaining_s(entry(50)) is None
    pace.note(entry(60, tokens=1_020_000), 30.0)
    assert pace.tokens_per_s == 1000
    assert pace.remaining_s(entry(60)) == 80


def test_figures_are_shown_as_far_as_known() -> None:
    pace = Pace()
    assert describe_progress(entry(1), pace) == "loss 2.0000  lr 1.00e-04"
    pace.note(entry(1, tokens=0), 0.0)
    pace.note(entry(3, tokens=2000), 2.0)
    assert describe_progress(entry(3), pace) == "loss 2.0000  lr 1.00e-04  1,000 tokens/s  1 min 37 s left"
    assert describe_progress(Progress(3, 3, eval_loss=1.5), pace) == "eval loss 1.5000  1,000 tokens/s"


def test_lines_come_once_a_minute_with_the_first_and_the_last_step(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    view = LineView()
    for step in range(1, 1001):
        clock[0] += 0.5
        view.progress(entry(step, 1000))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1].split("/")[0] for line in lines] == [
        "1", "121", "241", "361", "481", "601", "721", "841", "961", "1000",
    ]  # fmt: skip


def test_slow_steps_get_a_line_each(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView()
    for step in range(1, 6):
        clock[0] += 60
        view.progress(entry(step, 5))
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_a_stall_is_said_with_the_file_of_the_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    LineView().stall(Stall(601.4, 12, (3,), Path("attempts/0/stall-0.txt")))
    shown = capsys.readouterr().err
    assert "no progress for 601 s at step 12 (rank 3 fell silent first)" in shown
    assert "attempts/0/stall-0.txt" in shown


def test_a_warning_says_the_update_the_figures_and_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    SafeView(LineView()).listener().on_warning(HealthWarning("loss-not-finite", 12, "the loss is nan"))
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.startswith("warning: The loss or its gradient is no longer a finite number")
    assert "At update 12: the loss is nan." in shown
    assert "learning_rate" in shown
    assert shown.endswith("(loss-not-finite)")


class FakeNvml:
    """Two GPUs, one of them nearly full."""

    NVMLError = RuntimeError
    nvmlInit = staticmethod(lambda: None)  # noqa: N815 - the library's names
    nvmlDeviceGetCount = staticmethod(lambda: 2)  # noqa: N815
    nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)  # noqa: N815
    nvmlDeviceGetUUID = staticmethod(lambda index: f"GPU-{index}")  # noqa: N815

    @staticmethod
    def nvmlDeviceGetMemoryInfo(index: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=(10, 70)[index] * 2**30, total=80 * 2**30)

    @staticmethod
    def nvmlDeviceGetUtilizationRates(index: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=(80, 100)[index])


@pytest.mark.parametrize(
    ("devices", "text"), [("0,1", "GPU 70.0/80.0 GiB 90%"), ("0", "GPU 10.0/80.0 GiB 80%"), ("", "")]
)
def test_gpu_memory_and_utilisation_of_the_runs_devices_are_shown(
    monkeypatch: pytest.MonkeyPatch, devices: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml)
    shown = GpuGauge(devices).text(0.0)
    assert shown == text
    assert describe_progress(entry(1), Pace(), shown) == f"loss 2.0000  lr 1.00e-04{'  ' if text else ''}{text}"


def test_a_closed_terminal_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def closed(text: str = "") -> None:
        said.append(text)
        raise OSError(5, "Input/output error")

    view = SafeView(LineView())
    monkeypatch.setattr(output, "say", closed)
    listener = view.listener()
    listener.on_phase("training")
    listener.on_progress(entry(100))
    listener.on_stop(StopLevel.ASKED)
    view.close()
    assert len(said) == 1, "nothing is tried again"


def test_a_terminal_gets_a_bar_and_quiet_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = choose_view(quiet=True)
    quiet.listener().on_phase("training")
    quiet.close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(training.sys.stderr, "isatty", lambda: True, raising=False)
    bar = choose_view(quiet=False)
    listener = bar.listener()
    listener.on_phase("loading the model")
    listener.on_progress(entry(3, 12))
    listener.on_stop(StopLevel.ASKED)
    listener.on_tick()
    bar.close()
    shown = capsys.readouterr().err
    assert "loading the model" in shown
    assert "3/12" in shown.replace(" ", "")
    assert "saves a checkpoint" in shown
