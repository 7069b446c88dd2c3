"""`lfwrap data stats` and `lfwrap data show`, as they are typed."""

from __future__ import annotations

import json

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run

MCP = bundled_path("data/mcp")


def answer(capsys, *arguments):
    code = run(["data", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The bundled MCP sets, prepared for qwen."""
    out = tmp_path_factory.mktemp("prepared")
    sources = [str(MCP / name) for name in ("calls.jsonl", "conversations.jsonl", "session.log")]
    options = ["--tools", str(MCP / "tools.json"), "--instructions", str(MCP / "session_instructions.jsonl")]
    command = ["prepare-data", *sources, *options, "--template", "qwen", "--no-engine-check"]
    assert run([*command, "--out", str(out), "--name", "mcp", "--val-size", "5"]) == 0
    return out


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Each character of printable ASCII is a token, anything else is one, too."""
    tokenizers = pytest.importorskip("tokenizers", reason="the engine is not installed")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))  # noqa: S106
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    made.save(str(path))
    return path


def test_counts_of_the_mcp_set(capsys, folder):
    """130 - 5 rows and more: what data/README.md says is in the three files."""
    code, out, _ = answer(capsys, "stats", "mcp", "--dataset-dir", str(folder), "--json")
    found = json.loads(out)
    val = json.loads(answer(capsys, "stats", "mcp_val", "--dataset-dir", str(folder), "--json")[1])
    assert (code, found["schema"], found["template"], val["template"]) == (0, "lfwrap.data-stats/1", "qwen", "qwen")
    assert (found["rows"], val["rows"]) == (190, 5)
    assert found["with_calls"] + val["with_calls"] == 120 + 55 + 13
    assert found["with_parallel_calls"] + val["with_parallel_calls"] == 14
    assert found["tools"] == 27  # without distractors nobody offers codepost_close_issue
    assert found["never_called"] == ["parcel-report-damage", "tidewatch.sun_times"]
    assert sum(found["calls"].values()) + sum(val["calls"].values()) == 224
    assert found["scripts"]["Han"] + val["scripts"].get("Han", 0) >= 27
    assert found["unreadable"] == {"rows": 0, "first": []}
    assert sum(count for _, _, count in found["characters"]["histogram"]) == 190


def test_a_file_is_counted_as_its_set_is(capsys, folder):
    by_file = json.loads(answer(capsys, "stats", str(folder / "mcp.jsonl"), "--json")[1])
    by_name = json.loads(answer(capsys, "stats", "mcp", "--dataset-dir", str(folder), "--json")[1])
    assert by_file == by_name


def test_tokens_without_the_engine(capsys, folder, tokenizer):
    """A tokenizer that makes every character a token counts as many tokens as there are characters."""
    for option in (["--tokenizer", str(tokenizer)], ["--model", str(tokenizer.parent)]):
        found = json.loads(answer(capsys, "stats", "mcp", "--dataset-dir", str(folder), *option, "--json")[1])
        tokens = found["tokens"]
        assert tokens.pop("counted") == "text, without what the template adds"
        over = tokens.pop("over")
        assert tokens == found["characters"]
        assert over["512"] == 185
        assert over["8192"] == 0
        assert list(over) == ["512", "1024", "2048", "4096", "8192"]


def test_the_account_for_people(capsys, folder, tokenizer):
    code, out, err = answer(capsys, "stats", "mcp", "--dataset-dir", str(folder), "--tokenizer", str(tokenizer))
    assert (code, err) == (0, "")
    for words in ("rows                190", "parallel calls", "never called: parcel", "supervised", "rows by tokens",
                  "tokens (text, without what the template adds)", "scripts             Latin"):  # fmt: skip
        assert words in out
    assert "█" in out


def test_bundled_sets_are_found_by_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(answer(capsys, "stats", "animals_zh", "--json")[1])
    assert (found["rows"], found["scripts"], found["calls"]) == (120, {"Han": 120}, {})
    code, out, _ = answer(capsys, "show", "animals_zh", "-n", "1")
    assert code == 0
    assert out.splitlines()[0] == "── animals_zh row 1 ──"
    assert out.splitlines()[1].startswith("human: ")


def test_rows_are_shown_with_the_names_of_their_tools(capsys, folder):
    _, out, _ = answer(capsys, "show", "mcp", "--dataset-dir", str(folder), "--row", "2", "-n", "2")
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("──")] == ["── mcp row 2 ──", "── mcp row 3 ──"]
    assert "tools: " in out
    assert "inputSchema" not in out
    value = json.loads(
        answer(capsys, "show", "mcp", "--dataset-dir", str(folder), "--row", "2", "-n", "1", "--json")[1]
    )
    [row] = value["rows"]
    assert (value["schema"], row["row"]) == ("lfwrap.data-rows/1", 2)
    assert set(row) == {"row", "conversations", "system", "tools"}


def test_rows_that_cant_be_read_are_counted_and_shown(capsys, tmp_path):
    lines = ['{"instruction": "a", "output": "b"}', "{", '{"instruction": "a", "output": ""}', "[]"]
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = json.loads(answer(capsys, "stats", str(tmp_path / "x.jsonl"), "--json")[1])
    assert (found["rows"], found["unreadable"]["rows"]) == (1, 3)
    assert [entry["row"] for entry in found["unreadable"]["first"]] == [2, 3, 4]
    assert "3 (row 2: line 2 is not JSON" in answer(capsys, "stats", str(tmp_path / "x.jsonl"))[1]
    assert "unreadable: output is empty" in answer(capsys, "show", str(tmp_path / "x.jsonl"))[1]


def test_nothing_in_a_row_acts_on_the_terminal(capsys, tmp_path):
    text = "a\x1b]0;title\x07 \u202eb\r\x9bc\nd\te"
    row = {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "ok"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row), encoding="utf-8")
    _, out, _ = answer(capsys, "show", str(tmp_path / "x.jsonl"))
    assert "human: a\\x1b]0;title\\x07 \\u202eb\\x0d\\x9bc\nd\te" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("stats", "animal_zh"), 4, "Did you mean 'animals_zh'?"),
        (("stats", "animals_zh", "--template", "qwen"), 2, "--template is for --rendered"),
        (("stats", "animals_zh", "--model", "no/model"), 4, "there is no such tokenizer"),
        (("show", "animals_zh", "--rendered"), 2, "--rendered needs a tokenizer"),
        (("show", "animals_zh", "--row", "121"), 4, "there is no row 121"),
        (("stats", "animals_zh", "--dataset-dir", "nowhere"), 4, "no data set of this name in nowhere"),
    ],
)
def test_what_is_wrong_is_said(capsys, arguments, code, said):
    found, out, err = answer(capsys, *arguments)
    assert (found, out) == (code, "")
    assert said in err


def test_a_broken_tokenizer_is_said(capsys, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    code, _, err = answer(capsys, "stats", "animals_zh", "--model", str(tmp_path))
    assert code == 4
    assert "not a tokenizer" in err
