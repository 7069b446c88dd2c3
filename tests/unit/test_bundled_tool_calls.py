"""The bundled tool-call sets are what their tables give, and what data/README.md promises of them."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest
import yaml
from jsonschema import Draft202012Validator

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run
from lfwrap.plan.schedule import make_schedule

SETS = ("mcp", "mcp_val", "mcp_new_tools")
MAKER = bundled_path("data/make_mcp")
_NUMBERED = re.compile(r"[A-Z]{1,5}-?\d+[A-Z]?|\d+")


@cache
def lines_of(name):
    return tuple(bundled_path(f"data/{name}.jsonl").read_bytes().splitlines(keepends=True))


@cache
def rows_of(name):
    return tuple(json.loads(line) for line in lines_of(name))


def calls_of(turn):
    if turn["from"] != "function_call":
        return []
    value = json.loads(turn["value"])
    return value if isinstance(value, list) else [value]


def all_calls(row):
    return [call for turn in row["conversations"] for call in calls_of(turn)]


def offered(row):
    return {tool["function"]["name"]: tool["function"]["parameters"] for tool in json.loads(row["tools"])}


def speakers(row):
    return [turn["from"] for turn in row["conversations"]]


def make(*arguments):
    command = [sys.executable, str(MAKER / "make.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_the_files_are_what_the_tables_give():
    done = make("--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1, 77])
def test_another_seed_gives_other_rows_as_good(tmp_path, seed):
    assert make("--seed", seed, "--out", tmp_path).returncode == 0
    for name in SETS:
        lines = (tmp_path / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
        assert len(lines) == len(lines_of(name))
        assert len({*lines} & {*lines_of(name)}) < len(lines) / 10


def test_a_file_that_was_edited_by_hand_is_noticed(tmp_path):
    for name in SETS:
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(lines_of(name)[:-1]))
    done = make("--check", "--out", tmp_path)
    assert done.returncode == 1
    assert all(f"{name}.jsonl" in done.stderr for name in SETS)


def test_an_epoch_at_128_rows_has_twenty_updates():
    assert len(rows_of("mcp")) >= 20 * 128
    assert len(rows_of("mcp_val")) >= 200
    assert len(rows_of("mcp_new_tools")) >= 150
    assert sum(map(len, map(b"".join, map(lines_of, SETS)))) < 5_000_000


def test_the_papers_recipe_trains_on_them_for_twenty_updates():
    recipe = yaml.safe_load(bundled_path("recipes/paper.yaml").read_text(encoding="utf-8"))
    rows_per_update = recipe.pop("lfwrap")["effective_batch_size"]
    schedule = make_schedule(recipe, len(rows_of(recipe["dataset"])), rows_per_update)
    assert schedule.updates >= 20


def test_sixty_tools_of_a_dozen_servers_are_called_about_equally_often():
    servers = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in MAKER.glob("servers/*.yaml")}
    tools = {tool["name"] for server in servers.values() for tool in server["tools"]}
    called = Counter(name for row in rows_of("mcp") for name in {call["name"] for call in all_calls(row)})
    assert len(servers) >= 12
    assert len(tools) >= 60
    assert set(called) == tools
    assert min(called.values()) >= 20
    assert max(called.values()) <= 90


@pytest.mark.parametrize("name", SETS)
def test_both_languages_are_spoken(name):
    chinese = sum(re.search(r"[\u4e00-\u9fff]", row["conversations"][0]["value"]) is not None for row in rows_of(name))
    assert 0.25 < chinese / len(rows_of(name)) < 0.35


def is_parallel(row):
    return any(len(calls_of(turn)) > 1 for turn in row["conversations"])


def is_asked_back_then_called(row):
    return speakers(row)[:4] == ["human", "gpt", "human", "function_call"]


def has_error(row):
    return any(turn["from"] == "observation" and '{"error"' in turn["value"] for turn in row["conversations"])


@pytest.mark.parametrize(
    ("holds", "least"),
    [
        (lambda row: speakers(row) == ["human", "function_call"] and len(all_calls(row)) == 1, 0.35),
        (is_parallel, 0.1),
        (lambda row: speakers(row).count("human") > 1 and len(all_calls(row)) > 1, 0.08),
        (lambda row: speakers(row) == ["human", "gpt"], 0.1),
        (is_asked_back_then_called, 0.03),
        (has_error, 0.04),
        (lambda row: len(offered(row)) > len({call["name"] for call in all_calls(row)}), 0.8),
    ],
    ids=["single", "parallel", "two questions", "no call", "asked back, then called", "error", "distractors"],
)
@pytest.mark.parametrize("name", SETS)
def test_every_kind_of_conversation_is_there(name, holds, least):
    rows = rows_of(name)
    assert sum(map(holds, rows)) >= least * len(rows)


@pytest.mark.parametrize("name", SETS)
def test_every_call_fits_a_tool_that_the_row_offers(name):
    for row in rows_of(name):
        tools = offered(row)
        for call in all_calls(row):
            schema = {**tools[call["name"]], "additionalProperties": False}
            Draft202012Validator.check_schema(schema)
            Draft202012Validator(schema).validate(call["arguments"])


def values_in(arguments):
    for value in arguments.values():
        yield from value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", SETS)
def test_no_argument_is_invented(name):
    """Texts and numbers stand in what was said before; only options and truth values are said in other words."""
    for row in rows_of(name):
        tools, before = offered(row), ""
        for turn in row["conversations"]:
            for call in calls_of(turn):
                properties = tools[call["name"]]["properties"]
                free = {key: value for key, value in call["arguments"].items() if "enum" not in properties[key]}
                said = [str(value) for value in values_in(free) if not isinstance(value, bool)]
                assert [value for value in said if value not in before] == [], row["conversations"]
            before += turn["value"] + "\n"


@pytest.mark.parametrize("name", SETS)
def test_a_call_follows_an_error_only_if_the_error_says_how(name):
    for row in rows_of(name):
        turns = row["conversations"]
        for index, turn in enumerate(turns):
            if turn["from"] == "observation" and '{"error": "not found' in turn["value"]:
                assert turns[index + 1]["from"] == "gpt"
            elif turn["from"] == "observation" and '{"error"' in turn["value"]:
                again, first = calls_of(turns[index + 1])[0], calls_of(turns[index - 1])[0]
                assert again["name"] == first["name"]
                assert "again" in turn["value"] or any(
                    str(value) in turn["value"] for value in values_in(again["arguments"])
                )


@cache
def _known_values():
    table = yaml.safe_load((MAKER / "values.yaml").read_text(encoding="utf-8"))
    options = table.pop("zh_words")
    lists = [values if isinstance(values, list) else [*values["en"], *values["zh"]] for values in table.values()]
    words = {str(value) for values in lists for value in values} | set(options.values())
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))


def skeleton(question):
    masked = _NUMBERED.sub("", _known_values().sub("", question))
    return re.sub(r"[\W_]+", "", masked.lower())


def test_no_two_questions_are_alike_but_for_numbers_and_names():
    """Over all three sets: what stands in the lists of values, and every number, is masked."""
    seen: Counter[str] = Counter(skeleton(row["conversations"][0]["value"]) for name in SETS for row in rows_of(name))
    alike = [form for form, count in seen.items() if count > 1]
    assert sum(seen.values()) == sum(len(rows_of(name)) for name in SETS)
    assert alike == []


def test_held_out_tools_are_neither_called_nor_offered_in_training():
    new = {
        tool["name"]
        for path in MAKER.glob("new_servers/*.yaml")
        for tool in yaml.safe_load(path.read_text(encoding="utf-8"))["tools"]
    }
    for name in ("mcp", "mcp_val"):
        assert not {tool for row in rows_of(name) for tool in offered(row)} & new
    assert {call["name"] for row in rows_of("mcp_new_tools") for call in all_calls(row)} == new
    assert len(new) >= 10
    for line in (*lines_of("mcp"), *lines_of("mcp_val")):
        assert not any(tool in line.decode() for tool in new)


@pytest.mark.parametrize("template", ["", "smollm2", "qwen", "llama3", "chatml"])
@pytest.mark.parametrize("name", SETS)
def test_prepare_data_changes_nothing(tmp_path, capsys, name, template):
    """No reject, no repair, no warning, and the same bytes, whatever the template."""
    written_for = ["--template", template] if template else []
    source = str(bundled_path(f"data/{name}.jsonl"))
    written_to = ["--out", str(tmp_path), "--name", "x", "--json", "--no-engine-check"]
    assert run(["prepare-data", source, *written_for, *written_to]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (tmp_path / "x.jsonl").read_bytes() == b"".join(lines_of(name))
    assert report["rejected"] == 0
    assert set(report["repairs"]) <= {"tool-unwrapped"}  # in the report only: they are wrapped again
    assert not report["warnings"]


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        ("servers/weather.yaml", "{city} right now?", "{town} right now?", "right now?: no argument town"),
        ("servers/shop.yaml", "track my order {order_id}", "track my order", "order: lacks the required order_id"),
        ("servers/bank.yaml", "@payee", "@payer", "bank: transfer_money: payee: values.yaml has no payer"),
        ("servers/travel.yaml", "economy|business", "economy|first", "cabin: zh_words has no word for first"),
        ("servers/mail.yaml", "from: newest", "from: newer", "forward_mail: search_mail returns no newer"),
        ("servers/mail.yaml", "name: forward_mail", "name: send_email", "two tools are called send_email"),
        ("servers/desk.yaml", "Ticket {ticket} is", "Ticket {nr} is", "nor a field of the result: nr"),
        ("servers/home.yaml", "integer! 16..26", "integer! 16-26", "set_temperature: degrees: not an argument"),
        ("new_servers/fleet.yaml", "    locate one of my", "    locate {vehicle}, one of my", "which it should lack"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_named_with_its_place(tmp_path, table, old, new, said):
    maker = shutil.copytree(MAKER, tmp_path / "maker", ignore=shutil.ignore_patterns("__pycache__"))
    text = (maker / table).read_text(encoding="utf-8")
    (maker / table).write_text(text.replace(old, new, 1), encoding="utf-8")
    command = [sys.executable, str(maker / "make.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["phrases", "questions"])
def test_examples_in_the_generator_hold(monkeypatch, module):
    monkeypatch.syspath_prepend(str(MAKER))
    spec = importlib.util.spec_from_file_location(module, MAKER / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module, loaded)
    spec.loader.exec_module(loaded)
    assert doctest.testmod(loaded).failed == 0
