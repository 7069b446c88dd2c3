"""The rows to evaluate on: a data set, or what a run kept back for validation."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.datasets.dataset import Dataset, DatasetRow, find_dataset
from lfwrap.engine.contract import Conversation, LabelOptions, SplitJob
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.keys import CUTOFF_KEY, DEFAULT_CUTOFF, DEFAULT_SEED
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import DataError, UsageError
from lfwrap.files import canonical_json, sha256_bytes
from lfwrap.run.folder.record import Run
from lfwrap.yaml_files import load_yaml

_ROLES = {"human": "user", "gpt": "assistant", "function_call": "function", "observation": "observation"}
_SPLIT_KEYS = ("dataset", "dataset_dir", "val_size", "max_samples", "mix_strategy", "interleave_probs", "streaming",
               "buffer_size", "template", "preprocessing_num_workers")  # fmt: skip
_SPLIT_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class EvalRow:
    """A row as the engine trains it.

    Attributes:
        number: 1-based, in its data set.
        messages: ``role`` (user, assistant, function, observation) and ``content``.
        system: the system prompt, or empty.
        tools: tool definitions as JSON text, or empty.
    """

    number: int
    messages: tuple[Mapping[str, str], ...]
    system: str = ""
    tools: str = ""

    def to_request(self) -> Conversation:
        """The row as the worker takes it."""
        return {"id": self.number, "messages": list(self.messages), "system": self.system, "tools": self.tools}


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Which tokens count, as the engine's keys of the same names say.

    Attributes:
        cutoff_len: rows are cut to so many tokens.
        train_on_prompt: the prompt counts, too.
        mask_history: only the last answer counts.
    """

    cutoff_len: int = DEFAULT_CUTOFF
    train_on_prompt: bool = False
    mask_history: bool = False

    @classmethod
    def of_run(cls, run: Run | None, cutoff_len: int | None) -> LabelSettings:
        """The settings of a run's training; ``cutoff_len`` replaces the run's."""
        settings = engine_settings(run) if run else {}
        return cls(
            cutoff_len or int(settings.get(CUTOFF_KEY) or DEFAULT_CUTOFF),
            bool(settings.get("train_on_prompt")),
            bool(settings.get("mask_history")),
        )

    def to_json(self) -> LabelOptions:
        """As the worker takes them."""
        return {
            "cutoff_len": self.cutoff_len,
            "train_on_prompt": self.train_on_prompt,
            "mask_history": self.mask_history,
        }


@dataclass(frozen=True, slots=True)
class EvalRows:
    """The rows of an evaluation and where they come from.

    Attributes:
        name: the data set, or what it is of a run.
        rows: those that can be read.
        unreadable: how many can't.
    """

    name: str
    rows: tuple[EvalRow, ...]
    unreadable: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 over the rows: tells another state of a data set of the same name."""
        return sha256_bytes(canonical_json([row.to_request() for row in self.rows]))

    def sampled(self, limit: int | None, seed: int) -> EvalRows:
        """At most ``limit`` of the rows, drawn with a seed, in their order."""
        if limit is None or limit >= len(self.rows):
            return self
        kept = sorted(random.Random(seed).sample(range(len(self.rows)), limit))  # noqa: S311 - repeatable, not secret
        return dataclasses.replace(self, rows=tuple(self.rows[index] for index in kept))


def engine_settings(run: Run) -> Mapping[str, Any]:
    """The keys that a run gave the engine."""
    return load_yaml(run.paths.engine_yaml).values if run.paths.engine_yaml.is_file() else {}


def load_rows(name: str, dataset_dir: Path | None, template: str, *, most: int | None = None) -> EvalRows:
    """The rows of a data set's name or of a file; what was not prepared is written for ``template``.

    Args:
        name: the data set, or the file.
        dataset_dir: the folder that registers it.
        template: the engine's template.
        most: at most so many rows, the first ones; None for all.

    Raises:
        DataError: there is no such data set, or no row of it can be read.
    """
    return _gather(name, [find_dataset(name, dataset_dir)], most, template)


def validation_rows(run: Run, engine: Engine) -> EvalRows:
    """What a run kept back: its ``eval_dataset``, or the part that ``val_size`` splits off, as the engine does it.

    Raises:
        UsageError: it kept nothing back.
        DataError: the data can't be read.
        EngineError: the engine can't split it.
    """
    settings = engine_settings(run)
    folder = Path(str(settings.get("dataset_dir") or run.record.dataset_dir or "data"))
    template = run.record.template or ""
    names = _names(settings.get("eval_dataset"))
    if names:
        sets = [find_dataset(name, folder) for name in names]
        return _gather(",".join(names), sets, settings.get("max_samples"), template)
    if settings.get("val_size"):
        rows = _split_rows(settings, folder, engine)
        numbered = (EvalRow(number, tuple(row["messages"]), row["system"] or "", row["tools"] or "")
                    for number, row in enumerate(rows, 1))  # fmt: skip
        return EvalRows(f"{','.join(run.record.datasets)}:val_size={settings['val_size']}", tuple(numbered))
    raise UsageError(
        f"{run.paths.name}: nothing was kept back for validation: no eval_dataset and no val_size",
        hint="Name the data: --data NAME|FILE. `lfwrap prepare-data --val-size 5%` keeps rows back.",
    )


def _gather(name: str, sets: Sequence[Dataset], max_samples: Any, template: str) -> EvalRows:
    stored = [row for one in sets for row in _first(one, max_samples, template)]
    rows = tuple(_row(number, row.value) for number, row in enumerate(stored, 1) if row.value is not None)
    unreadable = [row for row in stored if row.value is None]
    if not rows:
        reason = f": row {unreadable[0].number}: {unreadable[0].reason}" if unreadable else ""
        raise DataError(f"{name}: no row to evaluate on{reason}", hint="`lfwrap data show` shows what is in it.")
    return EvalRows(name, rows, len(unreadable))


def _first(found: Dataset, max_samples: Any, template: str) -> Iterator[DatasetRow]:
    """The rows that the engine would take: all, or the first ``max_samples`` of each set."""
    if not found.template:
        found = dataclasses.replace(found, template=template)
    for row in found.rows():
        if max_samples and row.number > int(max_samples):
            return
        yield row


def _row(number: int, value: Mapping[str, Any]) -> EvalRow:
    messages = tuple({"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in value["conversations"])
    return EvalRow(number, messages, value["system"], value["tools"])


def _names(value: Any) -> list[str]:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return [str(name) for name in value or ()]


def _split_rows(settings: Mapping[str, Any], folder: Path, engine: Engine) -> list[dict[str, Any]]:
    arguments = {key: settings[key] for key in _SPLIT_KEYS if settings.get(key) is not None}
    arguments["dataset_dir"] = str(folder)
    job: SplitJob = {"arguments": arguments, "seed": settings.get("seed", DEFAULT_SEED)}
    found = run_worker(
        engine.python,
        "validation_split",
        job,
        environment=engine_environment(model_is_local=True, runs_model=False, added={"HF_HUB_OFFLINE": "1"}),
        timeout_s=_SPLIT_TIMEOUT_S,
        text=FailureText("The engine can't split the run's data"),
    )
    rows: list[dict[str, Any]] = found["rows"]
    return rows
