"""`lfwrap recipe`, as it is typed."""

from __future__ import annotations

import json
import re
import time

import jsonschema
import pytest
import yaml

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run
from lfwrap.engine.facts import load_engine_facts
from lfwrap.recipe.library import bundled_recipes
from lfwrap.recipe.schema import recipe_schema

BAD = (
    'model_name_or_path: m\ntemplate: qwenn\ndataset: animals_zh\nlora_rnak: 8\nlearning_rate: "1e-4"\ndo_train: true\n'
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)
    return tmp_path


def answer(capsys, *arguments):
    code = run(["recipe", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_all(capsys):
    code, out, _ = answer(capsys, "list")
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0
    assert {"recipes/paper.yaml", "recipes/smoke.yaml"} <= set(names)
    assert names == [entry.name for entry in bundled_recipes()]
    assert json.loads(answer(capsys, "list", "--json")[1])["schema"] == "lfwrap.recipe-list/1"


def test_show_prints_the_file_as_it_is(capsys):
    _, out, _ = answer(capsys, "show", "recipes/paper.yaml")
    assert out.strip() == bundled_path("recipes/paper.yaml").read_text(encoding="utf-8").strip()


def test_check_finds_all_at_once_with_places(capsys, elsewhere):
    (elsewhere / "bad.yaml").write_text(BAD, encoding="utf-8")
    code, out, err = answer(capsys, "check", "bad.yaml")
    assert code == 3
    assert "bad.yaml:2:1  template: 'qwenn' does not exist. Did you mean 'qwen'?" in out
    assert "bad.yaml:4:1  lora_rnak: unknown key. Did you mean 'lora_rank'?" in out
    assert "bad.yaml:5:16  learning_rate: text '1e-4', expected float. Write 0.0001, without quotes." in out
    assert "3 errors" in err


def test_check_as_json_is_one_object_also_on_failure(capsys, elsewhere):
    (elsewhere / "bad.yaml").write_text(BAD, encoding="utf-8")
    code, out, _ = answer(capsys, "check", "bad.yaml", "--json")
    value = json.loads(out)
    assert (code, value["errors"], len(value["findings"])) == (3, 3, 3)


def test_check_against_a_machine(capsys, elsewhere):
    good = BAD.replace("qwenn", "qwen").replace("lora_rnak: 8\n", "bf16: true\n").replace('"1e-4"', "1e-4")
    (elsewhere / "r.yaml").write_text(good, encoding="utf-8")
    assert answer(capsys, "check", "r.yaml")[0] == 0
    code, out, _ = answer(capsys, "check", "r.yaml", "--hardware", "t4")
    assert code == 3
    assert "t4 has no bf16" in out


def test_check_takes_overrides(capsys):
    assert answer(capsys, "check", "recipes/paper.yaml", "learning_rate=1e-4")[0] == 0
    code, out, _ = answer(capsys, "check", "recipes/paper.yaml", "learning_rate=fast")
    assert code == 3
    assert "command line  learning_rate: text 'fast'" in out


def test_a_missing_recipe_and_a_dashed_override_are_told_apart(capsys):
    assert answer(capsys, "check", "nowhere.yaml")[0] == 3
    code, _, err = answer(capsys, "check", "recipes/paper.yaml", "--", "--learning_rate=1")
    assert code == 2
    assert "learning_rate=1" in err


def test_check_is_quick(elsewhere):
    (elsewhere / "bad.yaml").write_text(BAD, encoding="utf-8")
    run(["recipe", "check", "bad.yaml"])
    start_s = time.perf_counter()
    run(["recipe", "check", "bad.yaml"])
    assert time.perf_counter() - start_s < 0.3


def test_explain_says_value_source_and_reason(capsys):
    code, out, _ = answer(capsys, "explain", "recipes/paper.yaml", "lora_rank=32", "--hardware", "4x-h100-80gb")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert code == 0
    assert re.search(r"\d+ × \d+ × 4 = 128$", out, re.MULTILINE)
    assert "command line" in lines["lora_rank"]
    assert "hardware" in lines["bf16"]
    assert "plan" in lines["gradient_accumulation_steps"]
    assert "recipe" in lines["lora_alpha"]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_explain_shows_no_secret(capsys, as_json):
    override = "hub_token=hf_abcdefgh"
    code, out, err = answer(capsys, "explain", "recipes/paper.yaml", override, "--hardware", "cpu", *as_json)
    assert code == 0
    assert "***" in out
    assert "hf_abcdefgh" not in out + err


def test_explain_names_model_path(capsys, monkeypatch):
    monkeypatch.setenv("MODEL_PATH", "/models/Qwen2.5-7B-Instruct")
    _, out, _ = answer(capsys, "explain", "recipes/paper.yaml", "--hardware", "cpu")
    line = next(line for line in out.splitlines() if line.startswith("model_name_or_path"))
    assert "/models/Qwen2.5-7B-Instruct" in line
    assert "MODEL_PATH" in line
    assert "instead of Qwen/Qwen2.5-7B-Instruct" in line


def test_explain_all_has_every_key_of_the_engine(capsys):
    arguments = ("explain", "recipes/paper.yaml", "--hardware", "cpu", "--all", "--json")
    values = {each["key"]: each for each in json.loads(answer(capsys, *arguments)[1])["values"]}
    assert set(values) == set(load_engine_facts().keys)
    assert values["adam_beta2"]["source"] == "engine default"
    assert all(each["reason"] or each["source"] in {"recipe", "command line"} for each in values.values())


def test_explain_refuses_a_batch_that_can_not_be_made(capsys):
    code, _, err = answer(capsys, "explain", "recipes/paper.yaml", "--hardware", "3x-h100-80gb")
    assert code == 5
    assert "126 (14 × 3 × 3), 129 (1 × 43 × 3)" in err


def test_schema_accepts_the_bundled_recipes_and_refuses_slips(capsys):
    schema = json.loads(answer(capsys, "schema")[1])
    assert schema == recipe_schema(load_engine_facts())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    entries = list(bundled_recipes())
    for entry in entries:
        assert not list(validator.iter_errors(entry.recipe.document.values)), entry.name
    assert len(entries) >= 11
    for slip in ({"lora_rnak": 8}, {"lora_rank": "8"}, {"template": "qwenn"}, {"lfwrap": {"zero_stage": 1}}):
        assert list(validator.iter_errors(slip)), slip


@pytest.mark.parametrize("method", ["lora", "qlora", "qlora8", "full"])
def test_new_writes_a_recipe_that_has_no_errors(capsys, elsewhere, method):
    arguments = ["new", "--method", method, "--model", "Qwen/Qwen2.5-3B-Instruct", "--dataset", "animals_zh"]
    assert answer(capsys, *arguments, "--hardware", "rtx-3090", "--out", "mine.yaml")[0] == 0
    assert answer(capsys, "check", "mine.yaml", "--hardware", "rtx-3090")[:2] == (0, "")
    values = yaml.safe_load((elsewhere / "mine.yaml").read_text(encoding="utf-8"))
    assert values["finetuning_type"] == ("full" if method == "full" else "lora")
    assert values.get("quantization_bit") == {"qlora": 4, "qlora8": 8}.get(method)
    assert values["template"] == "qwen"


def test_new_overwrites_nothing(capsys, elsewhere):
    (elsewhere / "mine.yaml").write_text("keep: me\n", encoding="utf-8")
    arguments = ["new", "--model", "m", "--dataset", "d", "--out", "mine.yaml"]
    assert answer(capsys, *arguments)[0] == 2
    assert (elsewhere / "mine.yaml").read_text(encoding="utf-8") == "keep: me\n"
    assert answer(capsys, *arguments, "--force")[0] == 0


def test_new_refuses_an_unknown_machine(capsys):
    assert answer(capsys, "new", "--model", "m", "--dataset", "d", "--hardware", "h1000")[0] == 2


def test_a_new_recipe_leaves_batch_epochs_and_learning_rate_to_the_number_of_rows(capsys):
    _, text, _ = answer(capsys, "new", "--model", "Qwen/Qwen2.5-3B-Instruct", "--dataset", "d")
    values = yaml.safe_load(text)
    assert values["lfwrap"]["effective_batch_size"] == "auto"
    assert not {"learning_rate", "num_train_epochs"} & values.keys()


@pytest.mark.parametrize("option", ["--batch", "--effective-batch-size"])
def test_a_new_recipe_with_a_batch_of_its_own_names_all_three(capsys, option):
    _, text, _ = answer(capsys, "new", "--model", "Qwen/Qwen2.5-3B-Instruct", "--dataset", "d", option, "32")
    values = yaml.safe_load(text)
    assert values["lfwrap"]["effective_batch_size"] == 32
    assert (values["learning_rate"], values["num_train_epochs"]) == (1e-4, 3.0)


@pytest.mark.parametrize("value", ["0", "-4", "some", "AUTO", "1.5", ""])
def test_a_batch_is_a_number_from_one_on_or_auto(capsys, value):
    code, _, error = answer(capsys, "new", "--model", "m", "--dataset", "d", "--effective-batch-size", value)
    assert code == 2
    assert "auto" in error


def test_import_writes_a_recipe_and_names_what_is_lost(capsys, elsewhere):
    config = {"model_name": "Qwen/Qwen2.5-0.5B-Instruct", "use_qlora": True, "lora_r": 64, "frobnicate": 1}
    (elsewhere / "c.json").write_text(json.dumps(config), encoding="utf-8")
    code, out, err = answer(capsys, "import", "c.json")
    assert code == 0
    assert yaml.safe_load(out)["quantization_bit"] == 4
    assert "frobnicate" in err


def test_import_of_broken_json_says_where(capsys, elsewhere):
    (elsewhere / "c.json").write_text('{"a": }', encoding="utf-8")
    code, _, err = answer(capsys, "import", "c.json")
    assert code == 3
    assert "c.json:1:7" in err
