"""`lfwrap serve`: what it refuses, warns of and shows, with a server made up."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest

from lfwrap.cli.app import run
from lfwrap.cli.commands import serve
from lfwrap.inference.serving import serve as serving


@pytest.fixture
def served(monkeypatch):
    asked = []

    @contextlib.contextmanager
    def stand_in(_engine, _target, options):
        asked.append(options)
        events = iter([{"method": "GET", "path": "/v1/models", "status": 200, "seconds": 0.001}])
        yield SimpleNamespace(address="http://127.0.0.1:9/v1", pid=1, requests=lambda: events)

    monkeypatch.setattr(serve, "open_target", lambda *_: ("engine", SimpleNamespace(name="latest")))
    monkeypatch.setattr(serving, "Server", stand_in)
    monkeypatch.setattr(serving, "check_address", lambda _: None)
    monkeypatch.delenv("LFWRAP_API_KEY", raising=False)
    return asked


def test_a_new_key_is_shown_once_and_the_ready_line_is_the_result(served, capsys):
    assert run(["serve", "latest"]) == 0
    out, err = capsys.readouterr()
    assert out == "ready: http://127.0.0.1:9/v1\n"
    assert err.count(served[0].api_key) == 1
    assert "GET /v1/models 200" in err
    assert "warning" not in err


def test_a_key_that_was_given_is_never_shown(served, capsys, monkeypatch):
    monkeypatch.setenv("LFWRAP_API_KEY", "sekrit")
    assert run(["serve", "latest", "--json", "--port", "0", "--name", "law"]) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert (value["schema"], value["model"]) == ("lfwrap.serve/1", "law")
    assert "sekrit" not in out + err
    assert served[0].api_key == "sekrit"


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [(["--host", "192.168.1.5"], "can be reached from other machines"), (["--no-api-key"], "no key")],
)
def test_what_opens_the_door_is_warned_of(served, capsys, arguments, warning):
    assert run(["serve", "latest", *arguments]) == 0
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--port", "70000"], "not in the range"),
        (["x", "--backend", "tgi"], "is not one of"),
        ([], "Missing argument"),
    ],
)
def test_usage(arguments, message, capsys):
    assert run(["serve", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_empty_key_is_no_key(served, capsys, monkeypatch):
    monkeypatch.setenv("LFWRAP_API_KEY", " ")
    assert run(["serve", "latest"]) == 2
    assert "LFWRAP_API_KEY is set, but empty" in capsys.readouterr().err
