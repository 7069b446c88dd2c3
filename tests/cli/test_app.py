"""The command line's frame: help without heavy imports, errors as messages and codes, bugs in a crash log."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from lfwrap import __version__, errors
from lfwrap.cli import app as cli


def lfwrap(*arguments):
    return subprocess.run([sys.executable, "-m", "lfwrap", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_nothing_heavy():
    probe = (
        "import sys; from lfwrap.cli.app import run; run(['--help'])\n"
        "heavy = {'rich', 'orjson', 'jsonschema', 'yaml', 'jinja2', 'psutil', 'torch', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert done.stderr.strip() == "[]"


def test_version():
    assert lfwrap("--version").stdout.strip() == f"lfwrap {__version__}"


def test_an_unknown_command_suggests_the_nearest():
    done = lfwrap("trian")
    assert done.returncode == 2
    assert "Did you mean 'train'?" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--nope"], ["plan"], ["prepare-data"]])
def test_a_wrong_line_is_a_usage_error_with_the_way_to_help(arguments):
    done = lfwrap(*arguments)
    assert done.returncode == 2
    assert "--help" in done.stderr


def run_raising(monkeypatch, capsys, error, *arguments):
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json):
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    code = cli.run(["doctor", *arguments])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LfwrapError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.RecipeError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.PlanError("x"), 5),
        (errors.PreflightError("x"), 6),
        (errors.EngineError("x"), 7),
        (errors.RunStateError("x"), 8),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_failure_has_its_code(monkeypatch, capsys, error, code):
    assert run_raising(monkeypatch, capsys, error)[0] == code


def test_findings_are_all_printed_with_place_and_remedy(monkeypatch, capsys):
    findings = [
        errors.Finding(
            "unknown-key", "lora_rnak: unknown key.", file="r.yaml", line=3, column=1, hint="Did you mean 'lora_rank'?"
        ),
        errors.Finding("slow", "no packing.", severity=errors.Severity.WARNING),
    ]
    code, captured = run_raising(monkeypatch, capsys, errors.RecipeError("1 error in 1 file", findings=findings))
    assert code == 3
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: r.yaml:3:1  lora_rnak: unknown key. Did you mean 'lora_rank'?",
        "warning: no packing.",
        "1 error in 1 file",
    ]


def test_json_also_on_failure(monkeypatch, capsys):
    _, captured = run_raising(monkeypatch, capsys, errors.DataError("bad", hint="mend it"), "--json")
    body = json.loads(captured.out)
    assert body["schema"] == "lfwrap.error/1"
    assert body["error"] == {"kind": "DataError", "exit_code": 4, "message": "bad", "hint": "mend it", "findings": []}


def test_a_bug_goes_into_a_crash_log(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code, captured = run_raising(monkeypatch, capsys, ZeroDivisionError("oops"))
    assert code == 70
    (log,) = tmp_path.glob("lfwrap-crash-*.log")
    assert "ZeroDivisionError: oops" in log.read_text()
    assert str(log) in captured.err


def test_json_also_on_a_bug(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, captured = run_raising(monkeypatch, capsys, ZeroDivisionError("oops"), "--json")
    body = json.loads(captured.out)
    assert (body["schema"], body["error"]["exit_code"]) == ("lfwrap.error/1", 70)
    assert "oops" in body["error"]["message"]
