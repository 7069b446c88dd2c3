"""How a process ended, in words, and the errors made of it."""

from __future__ import annotations

import errno
import signal

import pytest

from lfwrap.engine.failure import FailureText, ending, engine_failure, start_failure, timeout_failure


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "ended with exit code 0"),
        (2, "ended with exit code 2"),
        (-signal.SIGKILL, "was ended by SIGKILL (out of memory?)"),
        (-signal.SIGTERM, "was ended by SIGTERM"),
        (-(signal.SIGRTMIN + 1), f"was ended by signal {signal.SIGRTMIN + 1}"),
        (None, "no longer answers"),
    ],
)
def test_endings_in_words(exit_code, words):
    assert ending(exit_code) == words


@pytest.mark.parametrize(
    ("what", "log", "exit_code", "message"),
    [
        ("x ended with exit code 3", "", 3, "x ended with exit code 3"),
        ("The rows can't be read", "", 3, "The rows can't be read: it ended with exit code 3"),
        ("The rows can't be read", "", None, "The rows can't be read: it no longer answers"),
        ("x", "first\nlast\n\n", 1, "x: last"),
        ("x", "ValueError: no such thing\nbye\n", 1, "x: ValueError: no such thing"),
    ],
)
def test_the_last_words_are_told(what, log, exit_code, message):
    error = engine_failure(what, log, exit_code)
    assert error.message == message
    assert "lfwrap doctor" in error.hint


def test_a_known_fault_has_its_remedy_and_an_unknown_one_the_callers_hint():
    text = FailureText(hint="Try again.", log_lines=2)
    known = engine_failure("x", "a\nb\ntorch.OutOfMemoryError: CUDA out of memory. Tried", 1, text)
    assert known.message == "x:\nb\ntorch.OutOfMemoryError: CUDA out of memory. Tried"
    assert known.hint not in {"Try again.", ""}
    assert engine_failure("x", "a\nb\nc", 1, text).hint == "Try again."


def test_a_program_that_can_not_be_started_is_named_with_the_reason():
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/bin/x")
    assert start_failure("/bin/x", missing).message == "/bin/x: can't be started: No such file or directory"
    folder = FileNotFoundError(errno.ENOENT, "No such file or directory", "/gone")
    assert start_failure("/bin/x", folder).message == "/bin/x: can't be started: No such file or directory: /gone"
    assert start_failure("x", ValueError("embedded null byte")).message == "x: can't be started: embedded null byte"


def test_a_process_that_took_too_long():
    assert timeout_failure("x", 900.0).message == "x: no answer within 900 s"
