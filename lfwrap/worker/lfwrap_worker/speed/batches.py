"""Training batches without padding: the rows of a micro-batch one behind the other, with their boundaries.

Rows per update, their order and the tokens supervised stay what they were. Evaluation keeps the engine's own batches,
as its mean over batches would change with their make-up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

_IGNORED = -100


def flatten(batch: dict[str, Any]) -> dict[str, Any]:
    """A padded batch as one row.

    Args:
        batch: ``input_ids``, ``labels``, ``attention_mask`` (batch, tokens); a mask of 0 is padding, rows that the
            engine has packed together have masks of 1, 2, 3, ….

    Returns:
        ``input_ids``, ``labels``, ``position_ids`` (1, tokens), the boundaries of the rows as transformers calls them,
        and the longest row's tokens.
    """
    mask = batch["attention_mask"]
    keep = mask != 0
    numbers = torch.arange(mask.shape[0], device=mask.device).unsqueeze(1) * (int(mask.max()) + 1) + mask
    _, sizes = torch.unique_consecutive(numbers[keep], return_counts=True)
    bounds = functional.pad(sizes.cumsum(0), (1, 0))
    labels = batch["labels"][keep]
    labels[bounds[:-1]] = _IGNORED  # the token before it belongs to another row
    positions = torch.arange(int(bounds[-1])) - bounds[:-1].repeat_interleave(sizes)
    bounds = bounds.to(torch.int32)
    longest = int(sizes.max())
    return {
        "input_ids": batch["input_ids"][keep].unsqueeze(0),
        "labels": labels.unsqueeze(0),
        "position_ids": positions.unsqueeze(0),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def install(workflow: Any) -> None:
    """Let the engine's trainer train on flattened batches and evaluate on its own."""
    padded = workflow.SFTDataCollatorWith4DAttentionMask
    trainer = workflow.CustomSeq2SeqTrainer

    class RowCollator(padded):  # type: ignore[misc, valid-type]
        """The engine's batches, flattened; the class above the engine's own leaves the mask in two dimensions."""

        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            return flatten(super(padded, self).__call__(features))

    class RowTrainer(trainer):  # type: ignore[misc, valid-type]
        """Takes the engine's own collator for evaluation."""

        def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> Any:
            training: Any = self.data_collator  # type: ignore[has-type]
            fields = {name: getattr(training, name) for name in training.__dataclass_fields__}
            self.data_collator = padded(**fields)
            try:
                return super().get_eval_dataloader(*args, **kwargs)
            finally:
                self.data_collator = training

    workflow.SFTDataCollatorWith4DAttentionMask = RowCollator
    workflow.CustomSeq2SeqTrainer = RowTrainer
