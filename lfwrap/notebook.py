"""For notebooks and scripts: a run as an object that answers, shows its losses and exports itself.

As thin as the command line: the same functions, the engine as a child, nothing imported before it is needed. ::

    from lfwrap import load_run

    with load_run("latest") as run:
        print(run.generate("What is a lien?"))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lfwrap.engine.contract import GenerationSettings
    from lfwrap.engine.locate import Engine
    from lfwrap.export.export import Export
    from lfwrap.inference.questions import Question
    from lfwrap.inference.session import Answer, AnswerSession
    from lfwrap.inference.target import Target
    from lfwrap.run.folder.record import Run


class TunedRun:
    """A run, checkpoint, adapter or model. The model is loaded by the first question, and gone after `close`.

    Attributes:
        target: what it stands for: base model, adapter, template.
        settings: how it answers; replace it to sample or to answer at greater length.
    """

    def __init__(self, engine: Engine, target: Target, run: Run | None, settings: GenerationSettings) -> None:
        self.target = target
        self.settings = settings
        self._engine = engine
        self._run = run
        self._session: AnswerSession | None = None

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        adapter = f" + {self.target.adapter}" if self.target.adapter else ""
        return f"<lfwrap run {self.target.name}: {self.target.model}{adapter}>"

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What ``record.json`` says; None where there is no run."""
        return self._run.to_json() if self._run else None

    def generate(self, text: str, *, system: str | None = None, tools: str | None = None, base: bool = False) -> str:
        """The answer to one question.

        Args:
            text: the question.
            system: the system prompt; without it, the template's own.
            tools: tool definitions as JSON text.
            base: let the base model answer, without the adapter.

        Raises:
            EngineError: the model can't be loaded, or fails.
        """
        return self.answer(text, system=system, tools=tools, base=base).text

    def answer(
        self,
        question: str | Sequence[Mapping[str, str]],
        *,
        system: str | None = None,
        tools: str | None = None,
        base: bool = False,
    ) -> Answer:
        """As `generate`, with everything that is known of the answer; takes a conversation, too."""
        session = self._open()
        return session.answer(_question(0, question, system, tools), self._adapter(session, base=base))

    def generate_batch(
        self,
        questions: Sequence[str | Sequence[Mapping[str, str]]],
        *,
        system: str | None = None,
        batch_size: int = 8,
        base: bool = False,
    ) -> list[str]:
        """The answers to many questions, in their order."""
        session = self._open()
        numbered = [_question(number, question, system, None) for number, question in enumerate(questions)]
        adapter = self._adapter(session, base=base)
        found = {answer.id: answer.text for answer in session.answer_all(numbered, adapter, batch_size=batch_size)}
        return [found[number] for number in range(len(numbered))]

    def stream(self, text: str, *, system: str | None = None, base: bool = False) -> Iterator[str]:
        """The answer in pieces, as it is written."""
        session = self._open()
        for piece in session.stream(_question(0, text, system, None), self._adapter(session, base=base)):
            if isinstance(piece, str):
                yield piece

    def chat(self, *, system: str | None = None) -> Chat:
        """A conversation that remembers what was said."""
        return Chat(self, system)

    def loss_curve(self) -> list[tuple[int, float]]:
        """``(step, loss)`` of each logged update, ascending. Raises UsageError where there is no run."""
        from lfwrap.errors import UsageError
        from lfwrap.run.folder.monitor import load_history

        if self._run is None:
            raise UsageError(
                f"{self.target.name}: not a run, so it has no losses", hint="load_run takes a run's folder or name."
            )
        history = load_history(self._run.paths.trainer_log)
        return [(entry.step, entry.loss) for entry in history if entry.loss is not None]

    def export(self, out: str | Path, **options: Any) -> Export:
        """Write the whole model, compared with base and adapter; options are the fields of `ExportOptions`.

        Raises:
            LfwrapError: as ``lfwrap export`` does.
        """
        from lfwrap.export.export import ExportOptions, export_model

        return export_model(self._engine, self.target, Path(out), ExportOptions(**options), lambda _: None)

    def close(self) -> None:
        """End the child; a further question loads the model again."""
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(None, None, None)

    def _open(self) -> AnswerSession:
        from lfwrap.inference.session import AnswerSession

        if self._session is None:
            self._session = AnswerSession(self._engine, self.target, settings=self.settings).__enter__()
        self._session.settings = self.settings
        return self._session

    @staticmethod
    def _adapter(session: AnswerSession, *, base: bool) -> str | None:
        return None if base else session.default_adapter()


class Chat:
    """A conversation; call it with what you say. ``history`` holds all turns."""

    def __init__(self, run: TunedRun, system: str | None = None) -> None:
        self._run = run
        self._system = system
        self.history: list[dict[str, str]] = []

    def __call__(self, text: str) -> str:
        """The answer to ``text``, and all that was said before."""
        messages = [*self.history, {"role": "user", "content": text}]
        answer = self._run.answer(messages, system=self._system)
        self.history = [*messages, {"role": "assistant", "content": answer.text}]
        return answer.text

    def reset(self) -> None:
        """Forget what was said."""
        self.history.clear()


def load_run(
    name: str | Path,
    *,
    runs_dir: str | Path = "runs",
    base_model: str | None = None,
    template: str | None = None,
    **generation: Any,
) -> TunedRun:
    """A run (folder, name, ``latest``), checkpoint, adapter or model, ready to answer.

    Args:
        name: what to load.
        runs_dir: where runs are looked for by name.
        base_model: use this base instead of the one that the adapter names.
        template: use this template instead of the one of the training.
        generation: fields of `GenerationSettings`: ``max_new_tokens``, ``temperature``, ``top_p``, ``top_k``, ``seed``.

    Raises:
        LfwrapError: there is no such run, it has not finished, a folder is incomplete, there is no such setting, or no
            engine is installed.
    """
    from lfwrap.engine.contract import GenerationSettings
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.errors import UsageError
    from lfwrap.inference.candidates import run_of
    from lfwrap.inference.target import resolve_target

    known = [field.name for field in dataclasses.fields(GenerationSettings)]
    if unknown := generation.keys() - set(known):
        raise UsageError(f"load_run: no setting {', '.join(sorted(unknown))}", hint=f"There are {', '.join(known)}.")
    engine = locate_engine()
    folder = Path(runs_dir)
    facts = load_engine_facts(engine)
    target = resolve_target(str(name), facts, runs_dir=folder, base_model=base_model, template=template)
    settings = dataclasses.replace(GenerationSettings(), **generation)
    return TunedRun(engine, target, run_of(target, folder), settings)


def _question(
    number: int, question: str | Sequence[Mapping[str, str]], system: str | None, tools: str | None
) -> Question:
    from lfwrap.inference.questions import Question, ask

    if isinstance(question, str):
        return ask(question, number=number, system=system, tools=tools)
    return Question(number, tuple(dict(turn) for turn in question), system, tools)
