"""A loaded model that answers and says the loss of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from lfwrap.engine.contract import EVENT_DONE, OP_LOSSES, LossesRequest, Worker
from lfwrap.evaluate.metrics import RowLoss
from lfwrap.inference.held_out_rows import EvalRow, LabelSettings
from lfwrap.inference.session import AnswerSession


class EvalSession(AnswerSession):
    """An `AnswerSession` with losses. Use it as a context: on leaving, the child is gone."""

    worker_script: ClassVar[Worker] = "score"

    def losses(self, rows: Sequence[EvalRow], adapter: str | None, labels: LabelSettings) -> Iterator[RowLoss]:
        """The loss of each row as it is known, the longest rows first; None for the base alone."""
        request: LossesRequest = {
            "op": OP_LOSSES,
            "adapter": adapter,
            "labels": labels.to_json(),
            "rows": [row.to_request() for row in rows],
        }
        self._worker.send(request)
        for event in self._worker.events():
            if event["event"] == EVENT_DONE:
                return
            yield RowLoss(**{name: value for name, value in event.items() if name != "event"})
