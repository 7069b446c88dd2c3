"""Run folders as `lfwrap train` leaves them, without the engine."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, append_event, prepare_record, utc_now

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

GIB = 1024**3
BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def log_entries(steps: int, *, loss: float = 2.0) -> list[dict[str, Any]]:
    """An update every two seconds, 1000 tokens each; an evaluation every tenth."""
    found = []
    for step in range(1, steps + 1):
        entry = {
            "current_steps": step,
            "total_steps": steps,
            "loss": loss / step,
            "lr": 1e-3 * (1 - step / steps),
            "throughput": 1000 * step / (2.0 * step),
            "total_tokens": 1000 * step,
            "vram_allocated": 10.5,
            "vram_reserved": 12.0,
        }
        found.append(entry)
        if step % 10 == 0:
            found.append({"current_steps": step, "total_steps": steps, "eval_loss": loss / step + 0.1})
    return found


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_attempts(run: Run) -> None:
    """A first attempt that failed, and a second one."""
    outcomes = [
        {"state": "failed", "reason": "Out of memory.", "exit_code": 1, "duration_s": 70.0, "global_step": 3},
        {"state": "succeeded", "reason": "", "exit_code": 0, "duration_s": 3700.0, "global_step": 40},
    ]
    for number, outcome in enumerate(outcomes):
        folder = run.paths.attempt(number)
        folder.root.mkdir(parents=True)
        diagnosis = {"rule": "oom", "remedy": "Halve it."} if number == 0 else None
        folder.exit.write_text(json.dumps({**outcome, "max_steps": 40, "diagnosis": diagnosis}), encoding="utf-8")
        command = {
            "quoted": "python train_engine.py engine.yaml",
            "cwd": "/w",
            "environment": {"A": "1 2", "HF_TOKEN": "***"},
        }
        folder.command.write_text(json.dumps(command), encoding="utf-8")
        folder.stderr.write_text("  Num examples = 1,600\n", encoding="utf-8")
        folder.stdout.write_text("trainable params: 90,112 || all params: 1,140,608 || x\n", encoding="utf-8")
        append_event(run.paths, "started", attempt=number, pid=1)


def write_inputs(run: Run, folder: Path) -> None:
    """A data set prepared by `lfwrap prepare-data`."""
    data = folder / "data" / "law.jsonl"
    write_jsonl(data, [{"a": 1}] * 7)
    counts = {"rows_in": 12, "rows_out": 7, "rejected": 3, "duplicates": 2, "left_out": {"not sampled": 0}}
    (data.parent / "law.report.json").write_text(json.dumps(counts), encoding="utf-8")
    entry = {"path": str(data), "size_bytes": data.stat().st_size, "sha256": "ab" * 32}
    inputs = {"files": {"dataset:law": entry}, "datasets": {}, "seeds": {"seed": 42, "data_seed": 42}}
    run.paths.inputs.write_text(json.dumps(inputs), encoding="utf-8")


def write_plan(run: Run) -> None:
    memory = {"peak_allocated_bytes": 10 * GIB, "device_bytes": 12 * GIB}
    speed = {"step_s": 2.5, "padded_tokens_per_s": 400.0, "steps": 40, "duration_s": 100.0}
    run.paths.plan.write_text(json.dumps({"memory": memory, "speed": speed}), encoding="utf-8")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """make_run(name, steps=40, **changes): a finished run of two attempts under ``runs``."""

    def make(name: str = "20261122T010203Z-law-0a1b2c3d", *, steps: int = 40, **changes: Any) -> Run:
        paths = create_run_folder(tmp_path / "runs", name)
        base = {"datasets": ("law",), "versions": {"torch": "2.9.1"}, "attempt": 1, "duration_s": 3770.0}
        base |= {"global_step": steps, "max_steps": steps, "first_loss": 2.0, "last_loss": 2.0 / steps}
        record = RunRecord(
            paths.name, RunState.SUCCEEDED, "law", utc_now(), "", "org/model", "lora", "sft", "qwen", **base
        )
        run = prepare_record(paths, dataclasses.replace(record, **changes))
        write_jsonl(paths.trainer_log, log_entries(steps))
        write_inputs(run, tmp_path)
        write_plan(run)
        write_attempts(run)
        environment = {
            "lfwrap": "0.1.0",
            "host": "box",
            "platform": "Linux",
            "python": "3.11.7",
            "hardware": {"gpus": [{"name": "H200"}], "driver": "570.1", "cpu_cores": 8},
            "git": {"commit": "c" * 40, "is_dirty": True},
            "variables": {"CUDA_VISIBLE_DEVICES": "0"},
            "command_line": ["lfwrap", "train", "law.yaml"],
        }
        paths.environment.write_text(json.dumps(environment), encoding="utf-8")
        paths.engine_yaml.write_text("learning_rate: 0.001\noutput_dir: /w/out\n", encoding="utf-8")
        paths.recipe.write_text("learning_rate: 0.001\n", encoding="utf-8")
        return run

    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A real Chromium that keeps what pages log and fetch."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("LFWRAP_REQUIRE_BROWSER"):
            pytest.fail("chromium and chromedriver are needed")
        pytest.skip("no chromium here")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield found
    found.quit()


@pytest.fixture
def show(browser: Chrome) -> Callable[..., None]:
    """show(page, width, scheme="light", media=""): open a page in a window of that width."""

    def open_page(page: Path, width: int, scheme: str = "light", media: str = "") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        browser.get(page.as_uri())

    return open_page
