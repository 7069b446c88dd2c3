"""A loaded model that answers: one load, then any number of questions, streamed or in batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from lfwrap.engine.contract import (
    EVENT_ANSWER,
    EVENT_DONE,
    OP_ATTACH,
    OP_BATCH,
    OP_STREAM,
    AttachRequest,
    BatchRequest,
    GenerationSettings,
    LoadRequest,
    StreamRequest,
    Worker,
)
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.inference.questions import Question
from lfwrap.inference.target import Target

TUNED = "tuned"
DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to a question.

    Attributes:
        id: the question's.
        text: the answer.
        prompt_tokens: tokens of the whole prompt, template included.
        answer_tokens: tokens of the answer, without the stop token.
        finish: ``stop``, ``length`` or ``interrupted``.
        seconds: spent on it; in a batch, its share.
        calls: the tool calls in it, ``name`` and ``arguments``, as the engine reads them in the template's format;
            empty where the question had no tools.
    """

    id: int
    text: str
    prompt_tokens: int
    answer_tokens: int
    finish: str
    seconds: float
    calls: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Answer:
        """From the worker's ``answer`` event, or from what `to_json` gave."""
        values = {name: value for name, value in event.items() if name != "event"}
        return cls(**(values | {"calls": tuple(values.get("calls", ()))}))

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return asdict(self)


def beyond_context(answer: Answer, ready: Mapping[str, Any]) -> str:
    """What to say of a question that, with its answer, is longer than the model can take; empty where it is not.

    Args:
        answer: the answer.
        ready: the worker's ``ready`` event.
    """
    total, made_for = answer.prompt_tokens + answer.answer_tokens, ready.get("context_tokens")
    if made_for is None or total <= made_for:
        return ""
    return f"{total:,} tokens with its answer, the model was made for {made_for:,}: the answer may be poor"


class AnswerSession:
    """A model in a child process of the engine's. Use it as a context: on leaving, the child is gone."""

    worker_script: ClassVar[Worker] = "answer"

    def __init__(
        self,
        engine: Engine,
        target: Target,
        *,
        adapters: Mapping[str, Path] | None = None,
        settings: GenerationSettings | None = None,
        deadline_s: float | None = None,
        added: Mapping[str, str] | None = None,
    ) -> None:
        """Start to load the target's base with its adapter (called ``tuned``), or with the adapters given.

        Args:
            engine: the engine.
            target: the model.
            adapters: adapters by name, instead of the target's own.
            settings: how it answers.
            deadline_s: the time of `time.monotonic` after which whoever waits for the model gets a TimeoutError; None
                for no such time.
            added: variables that the child gets besides.

        Raises:
            PreflightError: the engine's Python can't be started.
        """
        self.settings = settings or GenerationSettings()
        self._deadline_s = deadline_s
        if adapters is None:
            adapters = {TUNED: target.adapter} if target.adapter else {}
        self._adapters = tuple(adapters)
        self._load: LoadRequest = {
            "arguments": target.engine_arguments(),
            "adapters": {name: str(folder) for name, folder in adapters.items()},
        }
        self._worker = WorkerProcess(
            engine.python,
            self.worker_script,
            environment=engine_environment(model_is_local=target.model_is_local, added=added),
        )

    def __enter__(self) -> Self:
        """Wait until the model is loaded. Raises EngineError when it can't be."""
        self.ready = self._worker.begin_and_wait(self._load, self._deadline_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self._worker.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._worker.pid

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters' names, in the order in which they came."""
        return self._adapters

    def attach(self, name: str, folder: Path) -> None:
        """Put one more adapter beside the base. Raises EngineError when it can't be loaded on it; the rest stays."""
        request: AttachRequest = {"op": OP_ATTACH, "name": name, "folder": str(folder)}
        self._worker.send(request)
        self._worker.receive()
        self._adapters = (*(known for known in self._adapters if known != name), name)

    def default_adapter(self) -> str | None:
        """The first adapter, or None for a whole model."""
        return self._adapters[0] if self._adapters else None

    def stream(self, question: Question, adapter: str | None) -> Iterator[str | Answer]:
        """Pieces of text as they come, and the whole `Answer` at the end; None answers with the base alone."""
        request: StreamRequest = {
            "op": OP_STREAM,
            "adapter": adapter,
            "generation": self.settings.to_json(),
            **question.to_request(),
        }
        self._worker.send(request)
        for event in self._worker.events(self._deadline_s):
            if event["event"] == EVENT_ANSWER:
                yield Answer.from_event(event)
                return
            yield event["text"]

    def answer(self, question: Question, adapter: str | None) -> Answer:
        """The answer to one question, as a whole."""
        return next(piece for piece in self.stream(question, adapter) if isinstance(piece, Answer))

    def answer_all(
        self,
        questions: Iterable[Question],
        adapter: str | None,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        known: Collection[int] = (),
    ) -> Iterator[Answer]:
        """Answers as they are done, longest prompts first; each carries its question's id.

        Args:
            questions: what is asked.
            adapter: who answers; None is the base alone.
            batch_size: questions at once.
            known: ids whose answers are there already: batches are made as if they were not, so that rounding is what
                it would have been, but those of which all is known are left out, and a known answer is not given.
        """
        request: BatchRequest = {
            "op": OP_BATCH,
            "adapter": adapter,
            "generation": self.settings.to_json(),
            "batch_size": batch_size,
            "known": sorted(known),
            "requests": [question.to_request() for question in questions],
        }
        self._worker.send(request)
        for event in self._worker.events(self._deadline_s):
            if event["event"] == EVENT_DONE:
                return
            if event["id"] not in known:
                yield Answer.from_event(event)

    def interrupt(self) -> None:
        """End the answer that is being written; it still comes, marked ``interrupted``."""
        self._worker.interrupt()
