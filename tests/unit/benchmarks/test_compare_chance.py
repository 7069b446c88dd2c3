"""Chance or dependence (benchmarks/compare_chance.py): what is said of logits, and what of processes that fail."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

PLACE = Path(__file__).resolve().parents[3] / "benchmarks" / "compare_chance.py"
STEPS, QUESTIONS, VOCABULARY = 4, 2, 8


@pytest.fixture(scope="module")
def chance():
    spec = importlib.util.spec_from_file_location("compare_chance", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def asked(chance):
    """Makes an asking; ``bump`` is added to one token's logit of the second question from a step on."""

    def make(bump=0.0, step=1, token=3, weights=7):
        logits = np.random.default_rng(0).standard_normal((STEPS, QUESTIONS, VOCABULARY)).astype(np.float32)
        logits[step:, 1, token] += np.float32(bump)
        tokens = logits.argmax(-1).T.tolist()
        return chance.Asked(tokens, logits, weights, 1)

    return make


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [([1, 2, 3], [1, 2, 3], None), ([1, 2, 3], [1, 5, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [4], 0), ([], [], None)],
)
def test_the_first_differing_token(chance, one, other, place):
    assert chance.first_difference(one, other) == place


def test_equal_logits_are_zero_apart(chance, asked):
    assert chance.weigh([(asked(), asked())]) == {
        "answers": 2, "differ": 0, "max_logit_difference": 0.0, "first_tokens": [],
    }  # fmt: skip


def test_logits_are_compared_up_to_where_the_answers_part(chance, asked):
    one, other = asked(), asked(bump=9.0, step=1)
    other.logits[2:, 1] += 100  # from there on another text has been read
    found = chance.weigh([(one, other)])
    assert (found["answers"], found["differ"], found["max_logit_difference"]) == (2, 1, 9.0)
    [first] = found["first_tokens"]
    assert (first["token"], first["logit_difference"]) == (1, 9.0)
    assert first["gaps"] == pytest.approx([chance.gap(each.logits[1, 1]) for each in (one, other)], abs=1e-5)


def test_an_answer_that_ends_earlier_is_compared_up_to_its_end(chance, asked):
    one, other = asked(), asked()
    one.tokens[0] = one.tokens[0][:2]
    other.tokens[0] = other.tokens[0][:2]
    other.logits[3:, 0] += 5  # what follows the end counts for nothing
    assert chance.weigh([(one, other)])["max_logit_difference"] == 0


@pytest.mark.parametrize(
    ("beside", "two_processes", "half_batch", "verdict"),
    [
        (0.0, 0.0, 0.1, "independent: the same bits"),
        (0.0, None, None, "independent: the same bits"),
        (0.1, 0.1, 0.0, "independent: no more than between two runs"),
        (0.1, 0.0, 0.1, "dependence, of the size of rounding"),
        (0.1, None, 0.1, "not told: the two runs"),
        (5.0, 0.0, 0.1, "dependence"),
        (5.0, 0.0, None, "dependence"),
        (None, 0.0, 0.0, "not told: nothing"),
    ],
)
def test_the_verdict(chance, beside, two_processes, half_batch, verdict):
    sizes = {"beside": beside, "two_processes": two_processes, "half_batch": half_batch}
    parts = {name: None if size is None else {"max_logit_difference": size} for name, size in sizes.items()}
    found = chance.judge(parts)
    assert found.startswith(verdict)
    assert (found == "dependence") == (verdict == "dependence")


def test_adapters_that_change_nothing_tell_nothing(chance):
    nothing = {"max_logit_difference": 0.0}
    parts = {"beside": nothing, "two_processes": nothing, "adapters_apart": nothing}
    assert chance.judge(parts) == "not told: the adapters answer alike, to the last bit"
    parts["adapters_apart"] = {"max_logit_difference": 0.5}
    assert chance.judge(parts).startswith("independent")


def test_what_is_missing_leaves_the_rest_to_be_said(chance, asked):
    found = chance.compare_asked({"first-beside": asked(), "first-alone": asked(), "last-beside": asked(weights=8)})
    assert found["beside"]["answers"] == QUESTIONS
    assert found["two_processes"] is found["again"] is found["half_batch"] is None
    assert found["weights_same"]
    assert not chance.compare_asked({"first-beside": asked(), "first-alone": asked(weights=8)})["weights_same"]
    assert chance.compare_asked({})["median_gap"] is None


@pytest.mark.parametrize("adapters", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_any_number_of_adapters_can_be_planned(chance, tmp_path, adapters):
    planned = chance.plan([Path(each) for each in adapters], 8, tmp_path)
    assert planned["together"][0]["adapters"] == adapters
    outs = [ask["out"] for loads in planned.values() for load in loads for ask in load["asks"]]
    assert len(set(outs)) == len(outs)
    assert all(
        ask["adapter"] in load["adapters"] for loads in planned.values() for load in loads for ask in load["asks"]
    )


ENDINGS = {
    "fails": ("print('  0.1 s imported', flush=True); raise MemoryError('no room on the GPU')", "exit code 1\n"),
    "hangs": ("import time; print('waits', flush=True); time.sleep(60)", "ended after 1 s\nwaits"),
    "is killed": ("import os, time; os.kill(os.getppid(), 15); time.sleep(60)", "SIGTERM came"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_why_a_process_left_nothing_is_said(chance, tmp_path, monkeypatch, capfd, ending):
    script, says = ENDINGS[ending]
    worker = tmp_path / "worker.py"
    worker.write_text(script, encoding="utf-8")
    monkeypatch.setattr(chance, "WORKER", worker)
    wish = chance.Wish(Path("model"), "qwen", 4, ["a", "b"], [Path("x"), Path("y")], os.environ, 1.0)
    found = chance.measure(wish, tmp_path)
    assert says in "\n".join(found["failures"].values())
    assert found["verdict"] == "not told: nothing to compare with"
    assert "first-alone" in found["missing"]
    assert found["seconds"] < 20
    if ending == "fails":
        assert "MemoryError: no room on the GPU" in found["failures"]["together"]
        assert "apart:   0.1 s imported" in capfd.readouterr().err


def test_the_gap_is_taken_where_texts_part(chance, asked, tmp_path):
    one = asked()
    pieces = [["a", "ab", "ab\ufffd", "ab羊"], ["x", "xy", "xyz", "xyzz"]]
    np.save(tmp_path / "judge0.npy", one.logits)
    found = {"tokens": one.tokens, "texts": ["ab羊", "xyzz"], "pieces": pieces, "weights": 1, "base": 1}
    (tmp_path / "judge0.json").write_text(json.dumps(found), encoding="utf-8")
    gaps = chance.gaps_where_parted(
        tmp_path / "judge0", [("ab羊", "ab猫"), ("xqzz", "xyzz"), ("xy", "xyzz"), ("no", "one's")]
    )
    wanted = [one.logits[3, 0], one.logits[1, 1], one.logits[2, 1]]
    assert list(gaps) == pytest.approx([chance.gap(each) for each in wanted], abs=1e-5)
