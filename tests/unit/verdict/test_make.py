"""A verdict is made of whatever a run's folder holds, and of what it lacks it says so; no folder makes it fail."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import threading
import time

import pytest
from fake_engine import runnable_engine
from model_folders import Q_PROJ

from lfwrap.cli.app import run as lfwrap
from lfwrap.cli.commands.runs_watch import _wait_for_verdict
from lfwrap.cli.view.following import show_success
from lfwrap.run.folder.record import Run, RunState, load_run, save_record
from lfwrap.verdict.make import budget_of, is_wanted, make_verdict
from lfwrap.verdict.result import announce_verdict
from lfwrap.verdict.weights import unchanged_reason

pytest.importorskip("numpy")
STEM = "base_model.model.model.layers.0.self_attn.q_proj"


def weights(path, tensors) -> None:
    """A file of fp32 tensors: name → shape and the number that it is full of."""
    header, content = {}, b""
    for name, (shape, value) in tensors.items():
        count = 1
        for length in shape:
            count *= length
        raw = struct.pack(f"<{count}f", *[value] * count)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(content), len(content) + len(raw)]}
        content += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.fixture
def made(build, use_engine):
    """made(**changes of the record): a run of stage dpo, which is not asked anything, with an adapter that moved."""

    def make(losses=(5.0, 4.0, 3.0, 2.5, 2.0, 1.8, 1.5, 1.2), rate=1e-4, value=0.1, **changes) -> Run:
        use_engine(runnable_engine())
        base = build.model()
        weights(base / "model.safetensors", {Q_PROJ: ([8, 8], 1.0)})
        paths = build.run(base, engine_yaml="template: qwen\nstage: dpo\n")
        pair = {f"{STEM}.lora_A.weight": ([2, 8], 1.0), f"{STEM}.lora_B.weight": ([8, 2], value)}
        weights(paths.output / "adapter_model.safetensors", pair)
        lines = [{"current_steps": step, "total_steps": len(losses), "loss": loss, "lr": rate}
                 for step, loss in enumerate(losses, 1)]  # fmt: skip
        paths.trainer_log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        record = dataclasses.replace(load_run(paths.root).record, stage="dpo", **changes)
        return save_record(paths, record)

    return make


def test_it_is_kept_in_the_folder_and_told_by_the_record(made, capsys):
    run = made()
    verdict = make_verdict(run)
    assert (verdict.kind, verdict.warnings) == ("learned", ())
    assert "1 of 1 layer moved, by 20.0%" in verdict.summary
    assert any("stage dpo" in reason for reason in verdict.left_out)
    assert load_run(run.paths.root).to_json()["verdict"] == json.loads(json.dumps(verdict.to_json()))
    show_success(run, as_json=True)
    said = capsys.readouterr().err
    assert "verdict: learned. " in said
    assert "Talk to it" in said


def test_nothing_changed_is_said_so_that_nobody_overlooks_it(made, capsys):
    run = made(rate=0.0, value=0.0)
    assert make_verdict(run).warnings[0].rule == "no-learning-rate"
    show_success(run, as_json=True)
    said = capsys.readouterr().err
    assert "verdict: NOTHING CHANGED. None of 1 layer moved." in said
    assert "Raise learning_rate" in said
    assert "Talk to it" not in said
    lfwrap(["runs", "list", "--runs-dir", str(run.paths.root.parent)])
    assert "nothing changed" in capsys.readouterr().out
    lfwrap(["runs", "show", str(run.paths.root)])
    assert "nothing changed. None of 1 layer moved." in capsys.readouterr().out


def test_the_command_makes_it_again(made, capsys):
    run = made()
    assert lfwrap(["runs", "verdict", str(run.paths.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["kind"]) == ("lfwrap.verdict/1", "learned")
    assert lfwrap(["runs", "verdict", str(run.paths.root)]) == 0
    assert capsys.readouterr().out == "learned\n"
    save_record(run.paths, dataclasses.replace(run.record, state=RunState.PREPARED))
    assert lfwrap(["runs", "verdict", str(run.paths.root)]) == 8


def no_log(run):
    run.paths.trainer_log.unlink()


def no_base(run):
    shutil.rmtree(run.record.base_model)


def cut_adapter(run):
    path = run.paths.output / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def no_adapter(run):
    (run.paths.output / "adapter_model.safetensors").unlink()


def broken_config(run):
    (run.paths.output / "adapter_config.json").write_text("{", encoding="utf-8")


def list_for_config(run):
    (run.paths.output / "adapter_config.json").write_text("[]", encoding="utf-8")


def broken_yaml(run):
    run.paths.engine_yaml.write_text("a: [", encoding="utf-8")


def nothing_at_all(run):
    shutil.rmtree(run.paths.output)


def binary_log(run):
    run.paths.trainer_log.write_bytes(b"\xff\xfe\x00{" * 99)


def odd_log(run):
    run.paths.trainer_log.write_text('[1]\n{"loss": "a", "current_steps": 1}\n{"loss": 1, "current_steps": null}\n')
    run.paths.trainer_state.write_text('{"log_history": 3, "global_step": "x"}')
    (run.paths.output / "checkpoint-x").mkdir()
    (run.paths.output / "checkpoint-7").mkdir()
    (run.paths.output / "eval_results.json").write_text("null")


@pytest.mark.parametrize(
    ("break_it", "kind", "left_out"),
    [
        (no_log, "can't tell", "stage dpo"),
        (no_base, "learned", "not on this machine"),
        (cut_adapter, "learned", "not whole"),
        (no_adapter, "learned", "not whole"),
        (broken_config, "learned", "weights"),
        (list_for_config, "learned", "weights"),
        (broken_yaml, "learned", "weights"),
        (nothing_at_all, "can't tell", "not whole"),
        (binary_log, "can't tell", "stage dpo"),
        (odd_log, "can't tell", "stage dpo"),
    ],
)
def test_a_folder_that_lacks_something_has_a_verdict_that_says_so(made, break_it, kind, left_out):
    run = made()
    break_it(run)
    verdict = make_verdict(run)
    assert verdict.kind == kind, verdict
    assert any(left_out in reason for reason in verdict.left_out), verdict
    json.dumps(verdict.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("losses", "kind"),
    [
        ((2.0,), "too little"),
        ((2.0, 1.0), "too little"),
        ((3.0, float("nan"), float("nan"), float("nan")), "diverged"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "too little"),
        ((), "can't tell"),
    ],
)
def test_few_and_broken_losses(made, losses, kind):
    assert make_verdict(made(losses=losses)).kind == kind


def test_a_whole_model_is_held_against_its_base(made):
    run = made(finetuning_type="full")
    for value, kind in ((1.0, "nothing changed"), (1.5, "learned")):
        (run.paths.output / "config.json").write_text("{}", encoding="utf-8")
        weights(run.paths.output / "model.safetensors", {Q_PROJ: ([8, 8], value)})
        assert make_verdict(run).kind == kind


@pytest.mark.parametrize(("value", "kind"), [(0.0, "nothing changed"), (0.3, "learned")])
def test_oft_has_moved_where_it_turns_something(made, value, kind):
    run = made(finetuning_type="oft")
    weights(run.paths.output / "adapter_model.safetensors", {f"{STEM}.oft_R.weight": ([2, 6], value)})
    verdict = make_verdict(run)
    assert (verdict.kind, verdict.evidence["weights"]["ratio"]) == (kind, 0.0 if not value else None)


def test_an_adapter_that_was_trained_further_counts_from_where_it_began(made, build):
    run = made(value=0.1)
    before = build.root / "before"
    shutil.copytree(run.paths.output, before)
    run.paths.engine_yaml.write_text(f"template: qwen\nadapter_name_or_path: {before}\n", encoding="utf-8")
    assert make_verdict(run).kind == "nothing changed"
    shutil.rmtree(before)
    verdict = make_verdict(run)
    assert verdict.kind == "learned"
    assert any("is gone" in reason for reason in verdict.left_out)


def test_of_an_initialisation_that_changes_the_base_nothing_is_said_of_the_way_it_moved(made):
    run = made(value=0.0)
    (run.paths.output / "adapter_config.json").write_text('{"init_lora_weights": "pissa_niter_16"}', encoding="utf-8")
    verdict = make_verdict(run)
    assert verdict.kind == "learned"
    assert any("changes the base itself" in reason for reason in verdict.left_out)


def test_a_verdict_of_an_earlier_start_and_a_broken_one_are_none(made):
    run = made()
    make_verdict(run)
    assert load_run(run.paths.root).verdict
    later = save_record(run.paths, dataclasses.replace(run.record, attempt=run.record.attempt + 1))
    assert later.verdict is None
    for text in ("{", "[]", '{"attempt": 0}', ""):
        run.paths.verdict.write_text(text, encoding="utf-8")
        assert load_run(run.paths.root).verdict is None


def test_without_an_engine_nothing_can_be_told_and_the_reason_is_given(made, use_engine):
    run = made()
    use_engine(None)
    verdict = make_verdict(run)
    assert verdict.kind == "can't tell"
    assert "LLaMA-Factory" in verdict.summary


@pytest.mark.parametrize(("duration_s", "budget_s"), [(10.0, 15.0), (3600.0, 72.0)])
def test_it_takes_a_fiftieth_of_the_run_or_fifteen_seconds(made, duration_s, budget_s):
    assert budget_of(made(duration_s=duration_s)) == budget_s


def test_the_best_checkpoint_as_the_result_is_not_a_result_saved_too_early(made):
    run = made()
    for step, value in ((4, 0.1), (8, 0.3)):
        folder = run.paths.output / f"checkpoint-{step}"
        shutil.copytree(run.paths.output, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
        pair = {f"{STEM}.lora_A.weight": ([2, 8], 1.0), f"{STEM}.lora_B.weight": ([8, 2], value)}
        weights(folder / "adapter_model.safetensors", pair)
    assert [finding.rule for finding in make_verdict(run).warnings] == ["saved-too-early"]
    run.paths.engine_yaml.write_text("load_best_model_at_end: true\n", encoding="utf-8")
    state = {"global_step": 8, "best_model_checkpoint": str(run.paths.output / "checkpoint-4")}
    run.paths.trainer_state.write_text(json.dumps(state), encoding="utf-8")
    assert make_verdict(run).is_clean


def test_an_adapter_that_changes_nothing_is_told_with_the_reason(made, tmp_path):
    run = made(value=0.0)
    assert unchanged_reason(runnable_engine(), run.paths.output).startswith(
        "the adapter's weights are zero in all of 1"
    )
    weights(run.paths.output / "adapter_model.safetensors", {})
    assert unchanged_reason(runnable_engine(), run.paths.output) == "the adapter stands on no layer"
    pair = {f"{STEM}.lora_A.weight": ([2, 8], 1.0), f"{STEM}.lora_B.weight": ([8, 2], 1e-9)}
    weights(run.paths.output / "adapter_model.safetensors", pair)
    assert unchanged_reason(runnable_engine(), run.paths.output) == ""
    assert unchanged_reason(runnable_engine(), tmp_path / "nothing") == ""


def test_who_watches_a_run_waits_for_the_verdict_that_is_being_made(made, capsys):
    run = made()
    announce_verdict(run.paths, run.record.attempt, 20.0)
    assert run.verdict is None
    later = threading.Timer(1.0, make_verdict, [run])
    later.start()
    assert _wait_for_verdict(run)["kind"] == "learned"
    later.join()
    run.paths.verdict.unlink()
    begun_s = time.monotonic()
    assert _wait_for_verdict(run) is None
    assert time.monotonic() - begun_s < 5


def test_a_recipe_can_leave_it_out(made):
    run = made()
    assert is_wanted(run)
    for text, wanted in (("lfwrap: {verdict: false}", False), ("lfwrap: {verdict: true}", True), ("a: [", True)):
        run.paths.recipe.write_text(text, encoding="utf-8")
        assert is_wanted(run) is wanted
    run.paths.recipe.write_text("a: 1\n", encoding="utf-8")
    for text, wanted in (("do_predict: true\n", False), ("do_train: false\n", False), ("do_train: true\n", True)):
        run.paths.engine_yaml.write_text(text, encoding="utf-8")
        assert is_wanted(run) is wanted


def test_the_clock_bounds_it(made, fake_worker):
    fake_worker("weight_changes", "import time; time.sleep(60)")
    begun_s = time.monotonic()
    verdict = make_verdict(made(), budget_s=2.0)
    assert time.monotonic() - begun_s < 12
    assert verdict.kind == "learned"
    assert any("weights" in reason for reason in verdict.left_out)
