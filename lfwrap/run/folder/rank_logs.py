"""Why an attempt failed, from the files of its training processes: the cause before its consequences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from lfwrap.engine.diagnose import Diagnosis, diagnose, read_tail
from lfwrap.engine.faults import CONSEQUENCES, UNKNOWN
from lfwrap.run.folder.paths import AttemptPaths, RankPaths


@dataclass(frozen=True, slots=True)
class RankError:
    """The exception that ended a rank.

    Attributes:
        rank: the rank.
        time_s: when, seconds since 1970.
        text: the whole traceback.
    """

    rank: int
    time_s: float
    text: str


def rank_errors(attempt: AttemptPaths) -> list[RankError]:
    """The exceptions of all ranks, the earliest first: the first to fail takes the others with it."""
    found = filter(None, map(_read_error, attempt.ranks()))
    return sorted(found, key=lambda error: error.time_s)


def _read_error(rank: RankPaths) -> RankError | None:
    try:
        value = orjson.loads(rank.error.read_bytes())
        return RankError(rank.number, float(value["time_s"]), str(value["text"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a rank that was killed has left the room for its error blank


def relevant_logs(attempt: AttemptPaths) -> list[Path]:
    """The logs of an attempt, the most telling first: that of the rank which failed first, then the launcher's."""
    ranks = attempt.ranks()
    first = [error.rank for error in rank_errors(attempt)]
    ordered = sorted(ranks, key=lambda rank: first.index(rank.number) if rank.number in first else len(first))
    stderrs, stdouts = [rank.stderr for rank in ordered], [rank.stdout for rank in ordered]
    own = stderrs[:1] if first else []
    paths = [*own, attempt.stderr, *stderrs[len(own) :], attempt.stdout, *stdouts]
    return [path for path in paths if path.is_file() and path.stat().st_size]


def diagnose_attempt(attempt: AttemptPaths, exit_code: int) -> Diagnosis:
    """Why the engine failed, by the ranks' own errors first and by all the logs then.

    A rank whose error only says that another one is gone does not speak for the run.
    """
    errors = rank_errors(attempt)
    own = [diagnose([error.text], exit_code) for error in errors]
    for found in own:
        if found.rule not in CONSEQUENCES | {UNKNOWN}:
            return found
    texts = [*(error.text for error in errors), *map(read_tail, relevant_logs(attempt))]
    by_logs = diagnose(texts, exit_code)
    if by_logs.rule in CONSEQUENCES:
        return next((found for found in own if found.rule == UNKNOWN), by_logs)
    return by_logs
