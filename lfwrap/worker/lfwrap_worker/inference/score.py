"""Losses beside answers, from one loaded model; run by the engine's Python, not imported.

Takes all that ``answer.py`` takes, and

- ``{"op": "losses", "adapter": …, "labels": {"cutoff_len", "train_on_prompt", "mask_history"},
  "rows": [{"id", "messages", "system", "tools"}…]}`` → a ``loss`` for each row with its sum over the supervised tokens,
  their number, the row's tokens and whether it was cut, then ``done``. A row that the engine drops, or that has no
  supervised token left, has a sum and a number of 0.
"""

from __future__ import annotations

import time
from typing import Any

from lfwrap_worker.inference.answer import AnswerServer, serve


class ScoreServer(AnswerServer):
    """Takes requests for answers and for losses."""

    def handle(self, request: dict[str, Any]) -> None:
        """Answer one request."""
        if request["op"] == "losses":
            with self._model.using(request.get("adapter")):
                self._losses(request)
        else:
            super().handle(request)

    def _losses(self, request: dict[str, Any]) -> None:
        from lfwrap_worker.inference.losses import RowEncoder, batches, loss_sums

        encoder = RowEncoder(self._model, request["labels"])
        rows = []
        for row in request["rows"]:
            encoded = encoder.encode(row)
            if encoded is not None and encoded.supervised_tokens:
                rows.append(encoded)
            else:
                tokens, is_cut = (len(encoded.token_ids), encoded.is_cut) if encoded else (0, False)
                self.emit("loss", id=row["id"], loss_sum=0.0, supervised_tokens=0, tokens=tokens, is_cut=is_cut)
        started_s = time.monotonic()
        for batch in batches(rows):
            for row, loss_sum in zip(batch, loss_sums(self._model, batch), strict=True):
                supervised, tokens = row.supervised_tokens, len(row.token_ids)
                self.emit("loss", id=row.id, loss_sum=loss_sum, supervised_tokens=supervised, tokens=tokens,
                          is_cut=row.is_cut)  # fmt: skip
        self.emit("done", seconds=round(time.monotonic() - started_s, 3))


def main() -> int:
    """Answer questions and measure losses with one model."""
    return serve(ScoreServer)
