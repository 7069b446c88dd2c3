"""Parts that torchtune's recipe is configured with: the engine's rows in torchtune's packs, and a log that is read.

Named in the YAML file that `torchtune_config.py` writes, and loaded by torchtune's own command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from timed_trainer import finish
from torchtune.datasets import PackedDataset  # type: ignore[import-not-found]

IGNORED = -100
GIB = 2**30


class Counts:
    """What went through the model since the last update. There is one in the process; packs and log share it."""

    def __init__(self) -> None:
        self.rows = self.tokens = self.supervised = self.through = 0

    def add(self, pack: Mapping[str, Any]) -> None:
        """Count a pack; what fills it up is given as its last row, and has no label."""
        lengths = pack["seq_lens"].tolist()
        self.rows += len(lengths) - pack["is_filled"]
        self.tokens += sum(lengths) - (lengths[-1] if pack["is_filled"] else 0)
        self.supervised += int((pack["labels"] != IGNORED).sum())
        self.through += len(pack["tokens"])

    def take(self) -> tuple[int, int, int, int]:
        """Rows, tokens, those with a label and those with padding since the last time; start anew."""
        found = self.rows, self.tokens, self.supervised, self.through
        self.rows = self.tokens = self.supervised = self.through = 0
        return found


COUNTS = Counts()


class CountedPacks(PackedDataset):  # type: ignore[misc]  # torchtune has no types here
    """torchtune's packs, counted when they are taken."""

    def _pad_pack(self, pack: dict[str, Any], padding_idx: int) -> dict[str, Any]:
        is_filled = int(len(pack["tokens"]) < self.max_seq_len)
        return {**super()._pad_pack(pack, padding_idx), "is_filled": is_filled}

    def __getitem__(self, index: int) -> dict[str, Any]:
        pack: dict[str, Any] = super().__getitem__(index)
        COUNTS.add(pack)
        return {key: value for key, value in pack.items() if key != "is_filled"}


def make_tokenizer(pad_id: int) -> SimpleNamespace:
    """All that the recipe asks a tokenizer for when rows come as tokens."""
    return SimpleNamespace(pad_id=pad_id)


def token_rows(tokenizer: SimpleNamespace, *, file: str, pack_tokens: int, packed: bool) -> Any:
    """The rows of a file of `encode_rows.py` in packs.

    Args:
        tokenizer: of `make_tokenizer`.
        file: JSONL.
        pack_tokens: a pack's length; no row is longer.
        packed: always true; the recipe itself reads it, to put packs together.
    """
    assert packed
    rows = []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        labels = [
            token if learned else IGNORED
            for token, learned in zip(row["input_ids"], row["completion_mask"], strict=True)
        ]
        rows.append({"tokens": row["input_ids"], "labels": labels})
    return CountedPacks(rows, max_seq_len=pack_tokens, padding_idx=tokenizer.pad_id)


class ResultLogger:
    """torchtune's metrics, gathered into a result like that of `engine_worker.py`; ends the process after the last."""

    def __init__(self, file: str, updates: int, rows: int) -> None:
        """Args: the result's file; updates after which to end; rows of an epoch."""
        self._file, self._last, self._rows = Path(file), updates, rows
        self._seen_rows = 0
        self._updates: list[dict[str, Any]] = []
        self._losses: list[tuple[float, float]] = []
        self._peaks: dict[str, int | None] = {"peak_allocated_bytes": None, "peak_reserved_bytes": None}

    def log_config(self, config: Any) -> None:
        """Nothing: the YAML file is kept."""

    def log(self, name: str, data: Any, step: int) -> None:
        """Nothing: the recipe logs updates by `log_dict`."""

    def close(self) -> None:
        """Nothing is open."""

    def log_dict(self, payload: Mapping[str, Any], step: int) -> None:
        """Note an update: its time follows from torchtune's own tokens a second, which count tokens with a label."""
        rows, tokens, supervised, through = COUNTS.take()
        took_s = supervised / float(payload["tokens_per_second_per_gpu"])
        self._updates.append(
            {"s": took_s, "tokens": tokens, "supervised_tokens": supervised, "tokens_through": through}
        )
        self._seen_rows += rows
        self._losses.append((self._seen_rows / self._rows, float(payload["loss"])))
        for key, name in (
            ("peak_allocated_bytes", "peak_memory_alloc"),
            ("peak_reserved_bytes", "peak_memory_reserved"),
        ):
            if name in payload:
                self._peaks[key] = max(self._peaks[key] or 0, round(float(payload[name]) * GIB))
        if step >= self._last:
            self._finish()

    def _finish(self) -> None:
        seen = SimpleNamespace(
            updates=self._updates, losses=self._losses, train_s=sum(update["s"] for update in self._updates)
        )
        finish(self._file, seen, **self._peaks)  # type: ignore[arg-type]
