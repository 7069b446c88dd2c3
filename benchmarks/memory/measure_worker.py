"""One training process of `measure.py`: imports the engine, says READY, takes one case, trains, writes a record.

Runs under the engine's Python. It reads one JSON line from stdin: {"case", "args", "env", "record", "log"}. What is
measured is the engine's own entry point, `llamafactory.train.tuner.run_exp`; nothing of the training is replaced, a few
functions are wrapped to read the memory counters at their borders.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

_STARTED = time.monotonic()


class Probe:
    """Reads the allocator's counters at the borders of loading, forward, backward and update."""

    def __init__(self, case: dict[str, Any], use_cpu: bool) -> None:
        self.case = case
        self.cuda = not use_cpu
        self.record: dict[str, Any] = {"id": case["id"], "rank": int(os.environ.get("RANK", "0")), "case": case}
        self.peak = {"allocated": 0, "reserved": 0}
        self.micro: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.update_done: list[float] = []

    def allocated(self) -> int:
        """Bytes in live tensors now."""
        import torch

        return torch.cuda.memory_allocated() if self.cuda else 0

    def fold_peak(self) -> int:
        """Peak allocated since the last call; the overall peaks keep the largest."""
        import torch

        if not self.cuda:
            return 0
        peak = torch.cuda.max_memory_allocated()
        self.peak["allocated"] = max(self.peak["allocated"], peak)
        self.peak["reserved"] = max(self.peak["reserved"], torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()
        return peak

    def now(self) -> float:
        """Seconds, after the device has done its work."""
        import torch

        if self.cuda:
            torch.cuda.synchronize()
        return time.monotonic() - _STARTED

    def write(self, status: str, path: str, error: str = "") -> None:
        """Write the record; the parent reads it once this process is gone."""
        record = self.record
        if self.cuda:
            import torch

            self.fold_peak()
            stats = torch.cuda.memory_stats()
            free, total = torch.cuda.mem_get_info()
            record.update(
                peak_allocated=self.peak["allocated"],
                peak_reserved=self.peak["reserved"],
                reserved_now=torch.cuda.memory_reserved(),
                device_in_use=total - free,
                device_total=total,
                alloc_retries=stats.get("num_alloc_retries", 0),
                inactive_split_peak=stats.get("inactive_split_bytes.all.peak", 0),
                device=torch.cuda.get_device_name(),
                torch=torch.__version__,
            )
        record.update(
            status=status,
            error=error[-1500:],
            losses=self.losses,
            micro=self.micro,
            update_done_s=self.update_done,
            wall_s=time.monotonic() - _STARTED,
        )
        Path(path).write_text(json.dumps(record), encoding="utf-8")


def wrap_engine(probe: Probe) -> None:
    """Read counters after the base model, after the adapter, and around each forward and backward."""
    loader = importlib.import_module("llamafactory.model.loader")
    workflow = importlib.import_module("llamafactory.train.sft.workflow")
    trainer = importlib.import_module("llamafactory.train.sft.trainer")
    init_adapter, load_model, compute_loss = (
        loader.init_adapter,
        workflow.load_model,
        trainer.CustomSeq2SeqTrainer.compute_loss,
    )

    def measured_adapter(*args: Any, **kwargs: Any) -> Any:
        probe.record["after_base"] = probe.allocated()
        probe.record["load_peak"] = probe.fold_peak()
        probe.record["base_loaded_s"] = probe.now()
        return init_adapter(*args, **kwargs)

    def measured_load(*args: Any, **kwargs: Any) -> Any:
        model = load_model(*args, **kwargs)
        probe.record["after_adapter"] = probe.allocated()
        probe.record["adapter_peak"] = probe.fold_peak()
        probe.record["trainable"] = sum(
            getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad
        )
        probe.record["parameter_bytes"] = sum(p.numel() * p.element_size() for p in model.parameters())
        probe.record["attention"] = getattr(model.config, "_attn_implementation", None)
        return model

    def measured_loss(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        before = probe.fold_peak()
        micro = {"shape": list(inputs["input_ids"].shape), "before": probe.allocated(), "since_last_peak": before}
        if "labels" in inputs:
            micro["supervised"] = int((inputs["labels"] != -100).sum())
        if inputs.get("cu_seq_lens_q") is not None:
            micro["row_bounds"] = inputs["cu_seq_lens_q"].tolist()
        mask = inputs.get("attention_mask")
        micro["mask"] = [str(mask.dtype), list(mask.shape)] if mask is not None else None
        loss = compute_loss(self, model, inputs, *args, **kwargs)
        micro["forward_peak"] = probe.fold_peak()
        micro["after_forward"] = probe.allocated()
        probe.micro.append(micro)
        return loss

    loader.init_adapter = measured_adapter
    workflow.load_model = measured_load
    trainer.CustomSeq2SeqTrainer.compute_loss = measured_loss


def load_extension() -> None:
    """What `speed: max` adds, as lfwrap's own start of the engine loads it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lfwrap" / "worker"))
    importlib.import_module("lfwrap_worker.speed").apply()


def make_callback(probe: Probe, updates: int, path: str) -> Any:
    """Times each micro-step, and ends the process after the last update: no checkpoint is written."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
            probe.record["train_begin"] = probe.allocated()
            probe.record["train_begin_s"] = probe.now()

        def on_substep_end(self, *_args: Any, **_kwargs: Any) -> None:
            probe.micro[-1]["done_s"] = probe.now()
            probe.micro[-1]["backward_peak"] = probe.fold_peak()
            probe.micro[-1]["after"] = probe.allocated()

        def on_pre_optimizer_step(self, *_args: Any, **_kwargs: Any) -> None:
            probe.micro[-1]["done_s"] = probe.now()
            probe.micro[-1]["backward_peak"] = probe.fold_peak()
            probe.micro[-1]["after"] = probe.allocated()

        def on_optimizer_step(self, *_args: Any, **_kwargs: Any) -> None:
            probe.micro[-1]["optimizer_peak"] = probe.fold_peak()
            probe.micro[-1]["after_optimizer"] = probe.allocated()

        def on_step_end(self, _args: Any, _state: Any, control: Any, **_kwargs: Any) -> Any:
            probe.update_done.append(probe.now())
            probe.micro[-1].setdefault("backward_peak", probe.fold_peak())
            probe.record["after_update"] = probe.allocated()
            control.should_log = True
            return control

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_kwargs: Any) -> None:
            if logs and "loss" in logs:
                probe.losses.append(float(logs["loss"]))
            if state.global_step >= updates:
                finite = bool(probe.losses) and all(math.isfinite(loss) for loss in probe.losses)
                probe.write("ok" if finite else "not finite", path)
                leave()

    return Stopwatch()


def leave() -> None:
    """End at once: the numbers are on disk, and an orderly end would save the model first."""
    import torch.distributed as dist

    sys.stdout.flush()
    sys.stderr.flush()
    if dist.is_available() and dist.is_initialized():
        dist.barrier()  # no rank may vanish while another still waits for it
    os._exit(0)


def run_case(job: dict[str, Any]) -> None:
    """Train one case; the record is written whatever happens."""
    os.environ.update(job["env"])
    import torch

    probe = Probe(job["case"], job["cpu"])
    probe.record["engine_imported_s"] = job["imported_s"]
    probe.record["cuda_touched_by_import"] = torch.cuda.is_initialized()
    probe.record["device_in_use_before"] = _device_in_use() if probe.cuda else 0
    if job["case"].get("expandable_segments"):
        torch.cuda.memory._set_allocator_settings("expandable_segments:True")  # noqa: SLF001
    try:
        if probe.cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.reset_peak_memory_stats()
        if job["case"].get("extended"):
            load_extension()
        wrap_engine(probe)
        tuner = importlib.import_module("llamafactory.train.tuner")
        probe.record["begin_s"] = time.monotonic() - _STARTED
        tuner.run_exp(dict(job["args"]), callbacks=[make_callback(probe, job["case"]["updates"], job["record"])])
        probe.write("ended early", job["record"])
    except torch.OutOfMemoryError as error:
        probe.write("oom", job["record"], str(error))
    except BaseException as error:  # noqa: BLE001 - whatever the engine raises is this case's result
        import traceback

        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        probe.write("oom" if "out of memory" in text.lower() else "failed", job["record"], text)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _device_in_use() -> int:
    """Bytes in use on this process's GPU before it touches it, by the driver's library; -1 when that is not there."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(os.environ.get("LOCAL_RANK", "0")))
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    except Exception:  # noqa: BLE001 - a missing library is no reason to lose the case
        return -1


def main() -> None:
    """Import, wait for a job on stdin, run it."""
    with_deepspeed = "--deepspeed" in sys.argv
    import llamafactory.train.tuner  # noqa: F401
    import trl  # noqa: F401

    if with_deepspeed:
        import deepspeed  # noqa: F401
    imported_s = time.monotonic() - _STARTED
    control = os.fdopen(os.dup(1), "w", encoding="utf-8")
    control.write("READY\n")
    control.flush()
    line = sys.stdin.readline()
    if not line:
        return
    job = json.loads(line)
    job["imported_s"] = imported_s
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    run_case(job)


if __name__ == "__main__":
    main()
