"""`lfwrap demo`, whole: the README's first command, on the real model."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import psutil
import pytest

from lfwrap.units import GIB

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


class PeakMemory(threading.Thread):
    """The largest sum of resident memory of a process and everything below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self.peak_bytes = 0

    def run(self) -> None:
        while self._root.is_running():
            total = 0
            try:
                for process in (self._root, *self._root.children(recursive=True)):
                    total += process.memory_info().rss
            except psutil.Error:
                continue
            self.peak_bytes = max(self.peak_bytes, total)
            time.sleep(0.5)


def test_the_demo_ends_with_a_tuned_model_that_answers_otherwise(tmp_path):
    out = tmp_path / "demo-run"
    command = [sys.executable, "-m", "lfwrap", "demo", "--out", str(out), "--json"]
    started_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        memory = PeakMemory(process.pid)
        memory.start()
        stdout, stderr = process.communicate(timeout=850)
    assert process.returncode == 0, stderr[-2000:]
    print(f"demo: {time.monotonic() - started_s:.0f} s, peak {memory.peak_bytes / GIB:.2f} GiB")
    report = json.loads(stdout)
    tuned = [pair["tuned"] for pair in report["answers"]]
    assert len(tuned) == 8
    # The house style: one or two sentences, a next step, the signature. The base has never seen it.
    assert sum("Next step:" in text and text.endswith("— Harbour Desk") for text in tuned) >= 6
    assert not any("Harbour Desk" in pair["base"] for pair in report["answers"])
    assert report["parity"]["passed"] is True
    assert report["parity"]["same_answers"] == report["parity"]["questions"] == 3
    assert report["loss"][1] < report["loss"][0] / 2
    assert (out / "merged" / "model.safetensors").is_file()
    assert json.loads((out / "demo.json").read_text())["run"] == report["run"]
    assert memory.peak_bytes < 4 * GIB
