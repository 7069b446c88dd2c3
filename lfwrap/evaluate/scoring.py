"""A loaded model that answers and says the loss of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import ClassVar

from lfwrap.evaluate.metrics import RowLoss
from lfwrap.inference.held_out_rows import EvalRow, LabelSettings
from lfwrap.inference.session import AnswerSession


class EvalSession(AnswerSession):
    """An `AnswerSession` with losses. Use it as a context: on leaving, the child is gone."""

    worker_script: ClassVar[str] = "score"

    def losses(self, rows: Sequence[EvalRow], adapter: str | None, labels: LabelSettings) -> Iterator[RowLoss]:
        """The loss of each row as it is known, the longest rows first; None for the base alone."""
        self._worker.send(
            {
                "op": "losses",
                "adapter": adapter,
                "labels": asdict(labels),
                "rows": [row.to_request() for row in rows],
            }
        )
        for event in self._worker.events():
            if event["event"] == "done":
                return
            yield RowLoss(**{name: value for name, value in event.items() if name != "event"})
