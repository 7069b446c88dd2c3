"""Everyone's turn at a loaded model: one load for all that share a base, adapters swapped, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lfwrap.inference.candidates import Contestant, group_by_load
from lfwrap.inference.session import AnswerSession
from lfwrap.inference.target import Target

Session = TypeVar("Session", bound=AnswerSession)
Opener = Callable[[Target, Mapping[str, Path]], Session]


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know how far it is.

    Attributes:
        on_note: a sentence.
        on_load: a model is loaded now, for these contestants.
        on_ready: it is there: the worker's ``ready`` event.
        on_progress: a contestant's name, results it has, results wanted.
    """

    on_note: Callable[[str], None] = lambda _: None
    on_load: Callable[[str, Sequence[str]], None] = lambda *_: None
    on_ready: Callable[[Mapping[str, Any]], None] = lambda _: None
    on_progress: Callable[[str, int, int], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Turn(Generic[Session]):
    """The turn of one contestant at a loaded model.

    Attributes:
        session: the loaded model.
        contestant: whose turn it is.
        adapter: by what name the session knows it; None for the base or a whole model.
    """

    session: Session
    contestant: Contestant
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Load:
    """What one load of a model took.

    Attributes:
        model: the base.
        load_s: seconds from the child's start until it was ready.
        phases: of these, what the worker says: ``import_s``, ``base_s``, ``adapters_s``.
        turns_s: contestant → seconds of its turn.
    """

    model: str
    load_s: float
    phases: Mapping[str, float]
    turns_s: Mapping[str, float]


def take_turns(
    open_session: Opener[Session],
    waiting: Sequence[Contestant],
    act: Callable[[Turn[Session]], None],
    listener: Listener,
) -> list[Load]:
    """Load what those who wait need, each load once, and let ``act`` do each one's work.

    Args:
        open_session: loads a target's base with adapters by name.
        waiting: who has something left to do.
        act: what is done in a turn.
        listener: hears of loads.

    Raises:
        EngineError: a model can't be loaded, or fails.
    """
    return [_load(open_session, group, act, listener) for group in group_by_load(waiting)]


def _load(
    open_session: Opener[Session],
    group: Sequence[Contestant],
    act: Callable[[Turn[Session]], None],
    listener: Listener,
) -> Load:
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
            act(Turn(session, each, each.name if each.name in adapters else None))
            turns_s[each.name] = round(time.monotonic() - began_s, 2)
    return Load(target.model, round(load_s, 2), session.ready.get("phases", {}), turns_s)
