"""The verdict of a run on the terminal: made at the end of a training, and shown so that nobody overlooks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lfwrap.cli.view import output

if TYPE_CHECKING:
    from lfwrap.run.folder.record import Run

LEARNED = "learned"
_USELESS = frozenset({"nothing changed", "diverged"})


def judge_run(run: Run) -> None:
    """Make the verdict of a run that has just succeeded; ^C leaves it out, and the run stays what it is."""
    from lfwrap.verdict.make import make_verdict

    output.say("looking at the result … (^C leaves that out)")
    try:
        make_verdict(run)
    except KeyboardInterrupt:
        output.say("left out")


def show_verdict(verdict: Mapping[str, Any] | None) -> None:
    """Write the verdict: what became of the training, why, and what to do about it; nothing without one."""
    if verdict is None:
        return
    kind, summary = verdict["kind"], verdict["summary"]
    doubts = [finding for finding in verdict["findings"] if finding["severity"] != "info"]
    doubtful = ", but see below" if kind == LEARNED and doubts else ""
    word = kind if kind == LEARNED else kind.upper()
    output.say(f"verdict: {word}{doubtful}. {summary}")
    for finding in verdict["findings"]:
        message = "" if finding["message"] in summary else f"{finding['message']} "
        mark = "note" if finding["severity"] == "info" else "warning"
        output.say(f"  {mark}: {message}{finding['hint']}".rstrip())
    for reason in verdict["left_out"]:
        output.say(f"  not known: {reason}")


def is_worth_talking_to(verdict: Mapping[str, Any] | None) -> bool:
    """Whether a model may answer otherwise than its base, and in words: not where nothing changed, or it diverged."""
    return verdict is None or verdict["kind"] not in _USELESS
