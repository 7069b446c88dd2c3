"""Every bundled recipe, rendered for its machine and for 1 to 8 GPUs, goes through the engine's own parser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import find_engine
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.inputs.data_size import settle_size
from lfwrap.recipe.library import bundled_recipes
from lfwrap.recipe.recipe import load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.render import render
from lfwrap.strategy.strategy import Strategy

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
WORKER = Path(__file__).with_name("parse_args_worker.py")
PAPER_MACHINES = ("h100-80gb", "2x-h100-80gb", "4x-h100-80gb", "8x-h100-80gb", "2x-t4")
ZERO_STAGES = (0, 2, 3)
PLAIN_YAML = (
    "model_name_or_path: x\nstage: sft\ndo_train: true\ndataset: d\nlearning_rate: 1e-4\nlora_target: [q_proj]\n"
)


def render_to(folder: Path, name: str, recipe, hardware: str) -> Path:
    path = folder / f"{name}.yaml"
    rendered = render(
        resolve_values(recipe, load_engine_facts(), load_hardware(hardware)),
        Strategy(),
        output_dir=str(folder / f"out_{name}"),
        dataset_dir=str(folder),
        deepspeed_path=str(folder / f"{name}.json"),
    )
    path.write_text(rendered.engine_yaml, encoding="utf-8")
    if rendered.deepspeed is not None:
        (folder / f"{name}.json").write_text(json.dumps(rendered.deepspeed), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """Name → what the engine's parser made of it, all in one child."""
    engine = find_engine()
    if engine is None:
        pytest.skip("the engine is not installed")
    folder = tmp_path_factory.mktemp("rendered")
    paths = [
        render_to(folder, entry.path.stem, settle_size(entry.recipe, folder), entry.recipe.intent.hardware or "cpu")
        for entry in bundled_recipes()
    ]
    paper = load_recipe("recipes/paper.yaml", environ={})
    paths += [render_to(folder, f"paper_{machine}", paper, machine) for machine in PAPER_MACHINES]
    for stage in ZERO_STAGES:
        recipe = load_recipe("recipes/paper.yaml", [f"lfwrap.zero_stage={stage}"], {})
        paths.append(render_to(folder, f"zero_{stage}", recipe, "2x-h100-80gb"))
    (folder / "plain_in.yaml").write_text(PLAIN_YAML, encoding="utf-8")
    paths.append(render_to(folder, "plain", load_recipe(folder / "plain_in.yaml", environ={}), "cpu"))
    answer = subprocess.run(
        [engine.python, str(WORKER), *map(str, paths)], capture_output=True, text=True, check=True, timeout=240
    )
    line = next(line for line in answer.stdout.splitlines() if line.startswith("RESULTS "))
    results = json.loads(line.removeprefix("RESULTS "))
    return {Path(path).stem: result for path, result in results.items()}


def test_the_engine_takes_every_rendered_recipe(parsed):
    errors = {name: result["error"] for name, result in parsed.items() if "error" in result}
    assert errors == {}
    assert len(parsed) >= 11 + len(PAPER_MACHINES) + len(ZERO_STAGES) + 1


@pytest.mark.parametrize(
    ("machine", "processes"), [(name, int(name[0]) if name[1] == "x" else 1) for name in PAPER_MACHINES]
)
def test_the_engine_reads_the_papers_values(parsed, machine, processes):
    values = parsed[f"paper_{machine}"]["parsed"]
    assert values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * processes == 128
    assert values["learning_rate"] == 2e-4
    assert values["warmup_steps"] == 0.1
    assert (values["bf16"], values["fp16"]) == (("t4" not in machine), "t4" in machine)
    assert (values["lora_rank"], values["template"], values["lora_target"]) == (64, "qwen", ["all"])


def test_a_plain_yaml_keeps_its_values(parsed):
    values = parsed["plain"]["parsed"]
    assert (values["learning_rate"], values["lora_target"], values["bf16"]) == (1e-4, ["q_proj"], False)
