"""What the rows say about the outcome before a training starts."""

import json

import pytest

from lfwrap.errors import Severity
from lfwrap.hardware.profile import catalog_machine
from lfwrap.recipe.recipe import load_recipe
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.rows import check_rows

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}


def _row(number, answer=None):
    return {
        "instruction": f"question {number}",
        "input": "",
        "output": f"answer {number}" if answer is None else answer,
    }


@pytest.fixture
def findings(tmp_path):
    def run(rows, val=(), **values):
        registry = {}
        for name, some in (("d", rows), ("d_val", val)):
            text = "".join(json.dumps(row) + "\n" for row in some)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
            registry[name] = {"file_name": f"{name}.jsonl", "columns": COLUMNS}
        (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
        (tmp_path / "r.yaml").write_text("model_name_or_path: m\ndataset: d\n")
        given = {"dataset": "d", **({"eval_dataset": "d_val"} if val else {}), **values}
        context = PreflightContext(
            load_recipe(tmp_path / "r.yaml", environ={}), given, catalog_machine("cpu"), tmp_path, tmp_path
        )
        return {finding.rule: finding for finding in check_rows(context, tmp_path)}

    return run


def test_a_usual_set_with_a_usual_validation_set_is_no_finding(findings):
    assert findings([_row(n) for n in range(50)], [_row(n) for n in range(50, 55)]) == {}


@pytest.mark.parametrize(("copies", "found"), [(2, False), (30, True)])
def test_data_that_repeat_themselves(findings, copies, found):
    rows = [_row(n) for n in range(50)] + [_row(0)] * copies
    assert ("repeated-rows" in findings(rows)) is found


def test_one_row_again_and_again(findings):
    finding = findings([_row(0)] * 64)["repeated-rows"]
    assert "63 of 64 rows are copies" in finding.message


@pytest.mark.parametrize("answer", ["answer 3", "another answer"])
def test_validation_rows_that_are_trained_on(findings, answer):
    finding = findings([_row(n) for n in range(50)], [_row(3, answer), _row(99)])["validation-in-training"]
    assert "1 of 2 validation rows" in finding.message
    assert ("1 are trained on" in finding.message) is (answer == "answer 3")


@pytest.mark.parametrize(("answers", "severity"), [(50, Severity.ERROR), (2, Severity.WARNING)])
def test_rows_without_a_trained_token(findings, answers, severity):
    rows = [_row(n, " " if n < answers else None) for n in range(50)]
    found = findings(rows)
    if found:  # an empty answer may be no row at all for the reader
        assert found["no-trained-token"].severity is severity


@pytest.mark.parametrize(("cutoff", "found"), [(2048, False), (16, True)])
def test_a_cutoff_that_cuts_every_answer(findings, cutoff, found):
    rows = [_row(n, "long answer " * 40) for n in range(50)]
    finding = findings(rows, cutoff_len=cutoff).get("rows-cut")
    assert (finding is not None) is found
    if finding:
        assert "Every row is longer than cutoff_len: 16 tokens" in finding.message
        assert "cutoff_len=" in finding.hint
