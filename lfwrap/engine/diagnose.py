"""Why the engine failed, from its last lines, by the table of known faults."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.faults import CRASHED, FAULTS, KILLED, OTHERS, UNKNOWN

_TAIL_BYTES = 64 << 10
_SHOWN_LINES = 15
_RANK = re.compile(r"^\[(?:rank|default)\d+\]:\s?")
_CRASHES = frozenset({-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL})
_PROGRESS_BAR = re.compile(r"\d+%\|[^|]*\|")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What went wrong and what to do.

    Attributes:
        rule: the fault's name, stable, as in docs/reference/diagnoses.md.
        message: what happened.
        remedy: what to do.
        evidence: the line of the log that says so; empty where none does.
    """

    rule: str
    message: str
    remedy: str
    evidence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``exit.json``."""
        return {"rule": self.rule, "message": self.message, "remedy": self.remedy, "evidence": self.evidence}


def _clean_lines(text: str) -> list[str]:
    lines = (_RANK.sub("", line).rstrip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not _PROGRESS_BAR.search(line)]


def read_tail(path: Path, limit_bytes: int = _TAIL_BYTES) -> str:
    """The end of a log file, at most so many bytes of it; empty when there is no such file."""
    try:
        with path.open("rb") as source:
            source.seek(max(0, source.seek(0, 2) - limit_bytes))
            return source.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def log_tail(texts: Iterable[str], count: int = _SHOWN_LINES) -> list[str]:
    r"""The last lines of the first log that has any, progress bars and rank prefixes taken off.

    >>> log_tail(["", "[rank0]: loading\n 50%|#####     |\n[rank0]: done\n"])
    ['loading', 'done']
    """
    return next((lines[-count:] for lines in map(_clean_lines, texts) if lines), [])


def diagnose(texts: Sequence[str], exit_code: int) -> Diagnosis:
    r"""What the logs say of a failed engine.

    Args:
        texts: the logs' ends, the most telling first (stderr, then stdout).
        exit_code: of the engine's first process, negative for a signal.

    >>> diagnose(["step 3\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"], 1).rule
    'gpu-out-of-memory'
    >>> diagnose(["ValueError: no such thing\n"], 1).message
    'ValueError: no such thing'
    """
    lines = [line for text in texts for line in _clean_lines(text)]
    for fault in FAULTS:
        evidence = next((line for line in reversed(lines) if fault.pattern.search(line)), None)
        if evidence is not None:
            return Diagnosis(fault.rule, fault.message, fault.remedy, evidence.strip())
    if exit_code == -signal.SIGKILL:
        return Diagnosis(KILLED, *OTHERS[KILLED])
    if exit_code in _CRASHES:
        message = f"The engine crashed ({signal.Signals(-exit_code).name})."
        return Diagnosis(CRASHED, message, OTHERS[CRASHED][1])
    message = _last_error(lines) or f"The engine ended with exit code {exit_code}."
    return Diagnosis(UNKNOWN, message, OTHERS[UNKNOWN][1])


def from_rule(rule: str, evidence: str) -> Diagnosis:
    """The diagnosis of a rule whose fault was noticed by something else than a log.

    Args:
        rule: the fault's name.
        evidence: what showed it.


    Raises:
        KeyError: there is no such rule.
    """
    faults = {fault.rule: fault for fault in FAULTS}
    return Diagnosis(rule, faults[rule].message, faults[rule].remedy, evidence)


def _last_error(lines: Sequence[str]) -> str:
    pattern = re.compile(r"^(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt)\b.*")
    errors = [line.strip() for line in lines if pattern.match(line.strip())]
    first_causes = [line for line in errors if "CalledProcessError" not in line and "ChildFailedError" not in line]
    return (first_causes or errors or [""])[-1]
