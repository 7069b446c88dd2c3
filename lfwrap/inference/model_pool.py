"""One load of a base for all models that share it: adapters swapped, each model's work done, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lfwrap.inference.candidates import ModelUnderTest, group_by_load
from lfwrap.inference.session import AnswerSession
from lfwrap.inference.target import Target

Session = TypeVar("Session", bound=AnswerSession)
Opener = Callable[[Target, Mapping[str, Path]], Session]


@dataclass(frozen=True, slots=True)
class AnsweringListener:
    """The receiver of the progress of loading and answering.

    Attributes:
        on_note: takes a sentence for the person.
        on_load: a base is loaded now, for the candidates of these names.
        on_ready: it is loaded; takes the worker's ``ready`` event.
        on_progress: takes a candidate's name, the results it has and those wanted.
    """

    on_note: Callable[[str], None] = lambda _: None
    on_load: Callable[[str, Sequence[str]], None] = lambda *_: None
    on_ready: Callable[[Mapping[str, Any]], None] = lambda _: None
    on_progress: Callable[[str, int, int], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class LoadedModel(Generic[Session]):
    """A candidate whose base is loaded.

    Attributes:
        session: the loaded base with its adapters.
        candidate: the model that is to answer.
        adapter: by what name the session knows it; None for the base or a whole model.
    """

    session: Session
    candidate: ModelUnderTest
    adapter: str | None


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How long one load of a base took, and the work on it.

    Attributes:
        model: the base.
        load_s: seconds from the child's start until it was ready.
        phases: of these, what the worker says: ``import_s``, ``base_s``, ``adapters_s``.
        turns_s: candidate's name → seconds of its work.
    """

    model: str
    load_s: float
    phases: Mapping[str, float]
    turns_s: Mapping[str, float]


def for_each_model(
    open_session: Opener[Session],
    candidates: Sequence[ModelUnderTest],
    work: Callable[[LoadedModel[Session]], None],
    listener: AnsweringListener,
) -> list[ModelLoad]:
    """Load each base that the candidates need once, and do the work on each candidate.

    Args:
        open_session: loads a target's base with adapters by name.
        candidates: those with something left to do.
        work: what is done with each of them.
        listener: hears of loads.

    Raises:
        EngineError: a model can't be loaded, or fails.
    """
    return [_load(open_session, group, work, listener) for group in group_by_load(candidates)]


def _load(
    open_session: Opener[Session],
    group: Sequence[ModelUnderTest],
    work: Callable[[LoadedModel[Session]], None],
    listener: AnsweringListener,
) -> ModelLoad:
    target = group[0].target
    listener.on_load(target.model, [each.name for each in group])
    adapters = {each.name: each.target.adapter for each in group if each.target.adapter is not None}
    started_s = time.monotonic()
    with open_session(target, adapters) as session:
        load_s = time.monotonic() - started_s
        listener.on_ready(session.ready)
        turns_s: dict[str, float] = {}
        for each in group:
            began_s = time.monotonic()
            work(LoadedModel(session, each, each.name if each.name in adapters else None))
            turns_s[each.name] = round(time.monotonic() - began_s, 2)
    return ModelLoad(target.model, round(load_s, 2), session.ready.get("phases", {}), turns_s)
