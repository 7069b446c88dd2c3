"""Losses beside answers, from one loaded model: a worker.

Takes all that `answer` takes, and

- ``{"op": "losses", "adapter": …, "labels": {"cutoff_len", "train_on_prompt", "mask_history"},
  "rows": [{"id", "messages", "system", "tools"}…]}`` → a ``loss`` for each row with its sum over the supervised tokens,
  their number, the row's tokens and whether it was cut, then ``done``. A row that the engine drops, or that has no
  supervised token left, has a sum and a number of 0.
"""

from __future__ import annotations

import time

from lfwrap_worker.channel import write_event
from lfwrap_worker.contract import (
    EVENT_DONE,
    EVENT_LOSS,
    OP_LOSSES,
    AttachRequest,
    BatchRequest,
    LossesRequest,
    LossEvent,
    StreamRequest,
)
from lfwrap_worker.inference.answer import AnswerServer, serve


class ScoreServer(AnswerServer):
    """Takes requests for answers and for losses."""

    def handle(self, request: StreamRequest | BatchRequest | AttachRequest | LossesRequest) -> None:
        """Answer one request of the parent."""
        if request["op"] == OP_LOSSES:
            with self._model.using(request.get("adapter")):
                self._losses(request)
        else:
            super().handle(request)

    def _losses(self, request: LossesRequest) -> None:
        from lfwrap_worker.inference.losses import RowEncoder, batches, loss_sums

        encoder = RowEncoder(self._model, request["labels"])
        rows = []
        for row in request["rows"]:
            encoded = encoder.encode(row)
            if encoded is not None and encoded.supervised_tokens:
                rows.append(encoded)
            else:
                tokens, is_cut = (len(encoded.token_ids), encoded.is_cut) if encoded else (0, False)
                self._emit_loss(row["id"], (0.0, 0), tokens, is_cut=is_cut)
        started_s = time.monotonic()
        for batch in batches(rows):
            for one, loss_sum in zip(batch, loss_sums(self._model, batch), strict=True):
                self._emit_loss(one.id, (loss_sum, one.supervised_tokens), len(one.token_ids), is_cut=one.is_cut)
        self.emit(EVENT_DONE, seconds=round(time.monotonic() - started_s, 3))

    def _emit_loss(self, number: int, loss: tuple[float, int], tokens: int, *, is_cut: bool) -> None:
        """Say a row's loss: the sum over its supervised tokens, and how many those are."""
        loss_sum, supervised_tokens = loss
        event: LossEvent = {
            "event": EVENT_LOSS,
            "id": number,
            "loss_sum": loss_sum,
            "supervised_tokens": supervised_tokens,
            "tokens": tokens,
            "is_cut": is_cut,
        }
        write_event(self._channel, event)


def main() -> int:
    """Answer questions and measure losses with one model."""
    return serve(ScoreServer)
