"""How a process of the engine's ended, and the error to raise for it: what it was, its last line, the remedy."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from lfwrap.engine.diagnose import diagnose
from lfwrap.errors import EngineError, PreflightError

DOCTOR_HINT = "`lfwrap doctor` checks the installation."


@dataclass(frozen=True, slots=True)
class FailureText:
    """The words of the error for a process that failed.

    Attributes:
        what: what has failed, as the beginning of a sentence; empty for the process and how it ended.
        hint: the remedy where the fault is not a known one.
        log_lines: lines of its log to show.
    """

    what: str = ""
    hint: str = DOCTOR_HINT
    log_lines: int = 1


PLAIN_FAILURE = FailureText()
"""A failure of which only the process and how it ended is said."""


def ending(exit_code: int | None) -> str:
    """How a process ended, in words.

    Args:
        exit_code: negative for a signal; None for a process that still runs.

    >>> ending(2), ending(-15)
    ('ended with exit code 2', 'was ended by SIGTERM')
    """
    if exit_code is None:
        return "no longer answers"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def engine_failure(what: str, log: str, exit_code: int | None, text: FailureText = PLAIN_FAILURE) -> EngineError:
    """The error for a process that failed, diagnosed by its log.

    Args:
        what: what has failed, and how: the message begins with it.
        log: the end of what it wrote.
        exit_code: negative for a signal; None for a process that still runs.
        text: the hint where the fault is not a known one, and how much of the log is shown.
    """
    found = diagnose([log], exit_code or 0)
    known = found.rule != "unknown"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if text.log_lines > 1 and lines:
        reason = "\n" + "\n".join(log.rstrip().splitlines()[-text.log_lines :])
    elif known:
        reason = f" {found.evidence or found.message}"
    elif lines:
        # The diagnosis where it quotes the log, else the log's last line.
        reason = f" {found.message if any(found.message in line for line in lines) else lines[-1]}"
    else:
        reason = "" if ending(exit_code) in what else f" it {ending(exit_code)}"
    return EngineError(f"{what}:{reason}" if reason else what, hint=found.remedy if known else text.hint)


def start_failure(program: str, error: Exception) -> PreflightError:
    """The error for a program that can't be started."""
    reason = getattr(error, "strerror", None) or str(error)
    place = getattr(error, "filename", None)
    where = f": {place}" if place and str(place) != program else ""
    return PreflightError(f"{program}: can't be started: {reason}{where}", hint="`lfwrap doctor` says what is missing.")


def timeout_failure(what: str, limit_s: float, text: FailureText = PLAIN_FAILURE) -> EngineError:
    """The error for a process that has not answered in time."""
    return EngineError(f"{what}: no answer within {limit_s:g} s", hint=text.hint)
