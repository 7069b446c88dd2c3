"""The page on moving over keeps its word: its commands parse, its recipe lines render, and no name is left out."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lfwrap import load_run
from lfwrap.bundled import bundled_path
from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import Severity
from lfwrap.hardware.load import load_hardware
from lfwrap.notebook import TunedRun
from lfwrap.recipe.check import check_recipe
from lfwrap.recipe.importer import import_config
from lfwrap.recipe.intent import FIELD_NAMES
from lfwrap.recipe.recipe import build_recipe, load_recipe, parse_overrides
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.render import render
from lfwrap.strategy.strategy import Strategy
from lfwrap.yaml_files import dump_yaml, parse_yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "move-over.md"
NAMES = yaml.safe_load((Path(__file__).parent / "guide_names.yaml").read_text(encoding="utf-8"))
FACTS = load_engine_facts()
BASE = {
    "model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
    "template": "qwen",
    "finetuning_type": "lora",
    "dataset": "animals_zh",
    "dataset_dir": str(bundled_path("data")),
    "val_size": 0.1,
    "lfwrap": {},
}
NOTHING = re.compile(r"(not needed|no counterpart): \S.{20,}")
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(lfwrap|pip) ")
PYTHON = re.compile(r"(load_run|run\.\w+)\(")
RECIPE_LINE = re.compile(r"[a-z_]+: \S")


@dataclass(frozen=True)
class Row:
    section: str
    names: tuple[str, ...]
    here: str
    note: str

    @property
    def spans(self) -> list[str]:
        return [] if NOTHING.match(self.here) else spans(self.here)


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def read_rows(text: str) -> list[Row]:
    rows = []
    section = ""
    for line in text.splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if line.startswith("| ") and not line.startswith(("| there |", "|---")):
            there, here, note = (cell.strip() for cell in line.strip("|").split(" |"))
            rows.append(Row(section, tuple(spans(there)), here, note))
    return rows


TEXT = PAGE.read_text(encoding="utf-8")
ROWS = read_rows(TEXT)
SHOWN = list(dict.fromkeys([span for row in ROWS for span in row.spans] + spans(re.sub(r"(?m)^\|.*", "", TEXT))))
COMMANDS = [span for span in SHOWN if COMMAND.match(span) and "lfwrap " in span]
LINES = [span for span in SHOWN if RECIPE_LINE.match(span)]
CALLS = [span for span in SHOWN if PYTHON.match(span)]
INSTALLS = [span for span in SHOWN if "pip install" in span]


def errors_of(recipe) -> list[str]:
    return [str(found) for found in check_recipe(recipe, FACTS) if found.severity is Severity.ERROR]


@pytest.mark.parametrize("section", NAMES)
def test_every_name_of_a_guide_has_a_row_and_every_row_is_of_a_guide(section):
    wanted = {name for names in NAMES[section].values() for name in names}
    shown = {name for row in ROWS if row.section == section for name in row.names}
    assert len(wanted) >= 20
    assert wanted - shown == set()
    assert shown - wanted == set()


def test_the_page_has_one_table_for_each_guide():
    assert list(dict.fromkeys(row.section for row in ROWS)) == list(NAMES)
    assert len(ROWS) >= 100


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.section.split()[0]}-{'-'.join(row.names)}" for row in ROWS])
def test_every_row_says_what_takes_its_place(row):
    if not NOTHING.match(row.here):
        assert row.spans
        unknown = [span for span in row.spans if span not in {*COMMANDS, *LINES, *CALLS, *INSTALLS}]
        assert unknown == [], "neither a command, a line of a recipe nor a call: it belongs into the last column"


@pytest.mark.parametrize("text", COMMANDS)
def test_commands_parse(text, parse_line):
    parsed = parse_line(text)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lfwrap").rglob("*.py"))
    assert [name for name in parsed.variables if f'"{name}"' not in source] == []
    given = parsed.params
    if given.get("hardware"):
        load_hardware(given["hardware"])
    overrides = given.get("overrides", ())
    known = {*FACTS.keys, *(f"lfwrap.{name}" for name in FIELD_NAMES)}
    assert set(parse_overrides(overrides)) <= known
    if str(given.get("recipe") or "").startswith("recipes/"):
        recipe = load_recipe(given["recipe"], overrides, environ={})
        assert errors_of(recipe) == []


@pytest.mark.parametrize("line", LINES)
def test_recipe_lines_are_valid_and_rendered(line):
    value = parse_yaml(line, "line").values
    recipe = build_recipe(parse_yaml(dump_yaml(BASE | value), "r.yaml"), Path("r.yaml"))
    assert errors_of(recipe) == []
    values = resolve_values(recipe, FACTS, load_hardware("4x-h100-80gb"))
    rendered = render(values, Strategy(), output_dir="/run/output")
    for key, wanted in value.items():
        if key != "lfwrap":
            assert rendered.engine[key] == wanted
    block = value.get("lfwrap", {})
    assert {key: getattr(recipe.intent, key) for key in block} == block
    if "effective_batch_size" in block:
        assert rendered.batch.effective == block["effective_batch_size"]
    assert (rendered.zero_stage, rendered.deepspeed is None) == (block.get("zero_stage"), "zero_stage" not in block)
    if "checkpoint_every_epoch_frac" in block:
        assert rendered.engine["save_strategy"] == rendered.engine["eval_strategy"] == "steps"


@pytest.mark.parametrize("text", CALLS)
def test_python_calls_fit(text):
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    arguments = [ast.literal_eval(argument) for argument in call.args]
    if isinstance(call.func, ast.Attribute):
        inspect.signature(getattr(TunedRun, call.func.attr)).bind(None, *arguments, **keywords)
    else:
        inspect.signature(load_run).bind(*arguments, **keywords)


@pytest.mark.parametrize("text", INSTALLS)
def test_extras_exist(text):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = [name for group in re.findall(r"\[([\w,-]+)\]", text) for name in group.split(",")]
    assert wanted
    assert set(wanted) <= set(extras)


def test_the_keys_of_json_configurations_are_imported():
    config = {
        "use_lora": True, "lora_r": 64, "lora_alpha": 16, "lora_dropout": 0.1, "learning_rate": "1e-4",
        "lora_target_modules": "q_proj,v_proj", "data_path": "data/x.jsonl", "output_dir": "out", "quantization_bit": 4,
        "use_qlora": True, "batch_size": 2, "gradient_accumulation_steps": 8,
    }  # fmt: skip
    keys = set(NAMES["JSON configurations: full, LoRA, QLoRA in 4 and 8 bit"]["keys"])
    assert keys <= config.keys()
    imported = import_config(config, FACTS)
    assert imported.unmapped == {}
    assert imported.values["lora_target"] == "q_proj,v_proj"
    assert imported.values["quantization_bit"] == 4
    assert imported.values["lfwrap"] == {"effective_batch_size": 16}
