"""Losses of rows as the engine's training computes them; used by the worker ``score``.

Rows become token ids and labels through the engine's own `SupervisedDatasetProcessor`, cut as training cuts them. A
row's loss is the sum of the cross-entropies of its supervised tokens, in fp32, so that sums over any set of rows give
the loss per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.hparams import DataArguments

from lfwrap_worker.contract import Conversation, LabelOptions

if TYPE_CHECKING:
    from lfwrap_worker.inference.engine_model import EngineModel

_NO_CUT = 1 << 30
_BATCH_TOKENS = 2048


class EncodedRow(NamedTuple):
    """A row for the model: token ids, the label of each, and whether the cut took something away."""

    id: int
    token_ids: list[int]
    labels: list[int]
    is_cut: bool

    @property
    def supervised_tokens(self) -> int:
        """Tokens that are predicted and count: the first one is never predicted."""
        return sum(label != IGNORE_INDEX for label in self.labels[1:])


class RowEncoder:
    """The engine's way from a row to tokens and labels."""

    def __init__(self, model: EngineModel, settings: LabelOptions) -> None:
        """Settings are the engine's ``cutoff_len``, ``train_on_prompt`` and ``mask_history``."""
        self._cutoff_len = settings["cutoff_len"]
        self._cut, self._whole = (
            SupervisedDatasetProcessor(
                template=model.template,
                tokenizer=model.tokenizer,
                processor=None,
                data_args=DataArguments(**{**settings, "cutoff_len": cutoff_len}),
            )
            for cutoff_len in (self._cutoff_len, _NO_CUT)
        )

    def encode(self, row: Conversation) -> EncodedRow | None:
        """One row; None for one that the engine drops."""
        *prompt, response = row["messages"]
        example = {"_prompt": [prompt], "_response": [[response]], "_system": [row["system"]], "_tools": [row["tools"]]}
        example |= {"_images": [None], "_videos": [None], "_audios": [None]}
        found = self._whole.preprocess_dataset(example)
        if not found.get("input_ids"):
            return None
        is_cut = len(found["input_ids"][0]) > self._cutoff_len
        if is_cut:
            found = self._cut.preprocess_dataset(example)
        return EncodedRow(row["id"], found["input_ids"][0], found["labels"][0], is_cut)


def batches(rows: Sequence[EncodedRow], batch_tokens: int = _BATCH_TOKENS) -> Iterator[list[EncodedRow]]:
    """Rows of like length together, the longest first, so many that they fill ``batch_tokens`` with their padding."""
    ordered = sorted(rows, key=lambda row: len(row.token_ids), reverse=True)
    while ordered:
        count = max(1, batch_tokens // len(ordered[0].token_ids))
        yield ordered[:count]
        ordered = ordered[count:]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def loss_sums(model: EngineModel, rows: Sequence[EncodedRow]) -> list[float]:
    """The summed cross-entropy of each row's supervised tokens; in halves when memory does not hold them all."""
    width, pad, device = max(len(row.token_ids) for row in rows), model.tokenizer.pad_token_id, model.model.device
    tokens = torch.tensor([row.token_ids + [pad] * (width - len(row.token_ids)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row.token_ids) + [0] * (width - len(row.token_ids)) for row in rows], device=device)
    try:
        logits = model.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return [_loss_sum(logits[number], row) for number, row in enumerate(rows)]
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    return [*loss_sums(model, rows[:middle]), *loss_sums(model, rows[middle:])]


def _loss_sum(logits: Any, row: EncodedRow) -> float:
    """Logits of one row, (padded length, vocabulary): position i predicts label i + 1."""
    labels = torch.tensor(row.labels[1:], device=logits.device)
    positions = (labels != IGNORE_INDEX).nonzero().flatten()
    total = torch.nn.functional.cross_entropy(logits[positions].float(), labels[positions], reduction="sum")
    return float(total)
