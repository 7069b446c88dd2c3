"""Mixtures: samples, weights, duplicates across sources, near-duplicates, test sets, sources.yaml and its lock."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.cli import app
from lfwrap.data.output.data_report import DataReport
from lfwrap.data.output.mix import Shaping, quotas
from lfwrap.data.output.near_duplicates import normalise
from lfwrap.data.output.split import ValSize
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.sources import Part, parse_part
from lfwrap.data.request import Request
from lfwrap.errors import DataError, UsageError


def source(folder: Path, name: str, rows: list[tuple[str, str]]) -> str:
    path = folder / name
    path.write_text(
        "".join(json.dumps({"instruction": q, "output": a}, ensure_ascii=False) + "\n" for q, a in rows),
        encoding="utf-8",
    )
    return str(path)


def numbered(label: str, count: int) -> list[tuple[str, str]]:
    return [(f"{label} question {n}", f"answer {n}") for n in range(count)]


def questions(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"][0]["value"] for line in lines]


def mix(folder: Path, parts: list[Part] | tuple[str, ...], **options: Any) -> DataReport:
    given_parts = {"parts": tuple(parts)} if isinstance(parts, list) else {}
    sources = parts if isinstance(parts, tuple) else ()
    report = prepare(Request(sources, folder / "o", "x", force=True, **given_parts, **options))
    assert report.balanced
    return report


def test_a_number_of_rows_of_one_source(tmp_path: Path) -> None:
    a, b = source(tmp_path, "a.jsonl", numbered("a", 100)), source(tmp_path, "b.jsonl", numbered("b", 30))
    report = mix(tmp_path, (f"{a}#10", b), chunk_bytes=300)
    assert [file.rows_out for file in report.files] == [10, 30]
    assert report.left_out == {"not sampled": 90}
    first = set(questions(tmp_path / "o" / "x.jsonl"))
    source(tmp_path, "a.jsonl", list(reversed(numbered("a", 100))))
    mix(tmp_path, (b, f"{a}#10"))
    assert set(questions(tmp_path / "o" / "x.jsonl")) == first


def test_weights_take_as_many_rows_as_they_can(tmp_path: Path) -> None:
    parts = [
        Part(source(tmp_path, "a.jsonl", numbered("a", 100)), weight=3),
        Part(source(tmp_path, "b.jsonl", numbered("b", 20)), weight=1),
        Part(source(tmp_path, "c.jsonl", numbered("c", 7))),
    ]
    report = mix(tmp_path, parts, val_size=ValSize(count=12))
    assert [file.rows_out for file in report.files] == [60, 20, 7]
    assert (report.train_rows, report.val_rows) == (75, 12)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(1, 60), st.none() | st.floats(0.1, 9)), max_size=5)
)
def test_quotas_never_exceed_what_there_is(given_parts: list[tuple[int, int | None, float | None]]) -> None:
    parts = [Part("x", rows=rows, weight=weight) for _, rows, weight in given_parts]
    available = {number: count for number, (count, _, _) in enumerate(given_parts) if count}
    for number, count in quotas(parts, available).items():
        assert 0 <= count < available.get(number, 0)
        assert parts[number].rows is None or count <= (parts[number].rows or 0)


@pytest.mark.parametrize("text", ["a.jsonl#", "a.jsonl#x", "a.jsonl#0"])
def test_a_sample_needs_a_number(text: str) -> None:
    with pytest.raises(UsageError, match="number of rows"):
        parse_part(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.json#train", Part("a.json", member="train")),
        ("a.json#train#20", Part("a.json", rows=20, member="train")),
        ("b.XLSX#Sheet 2", Part("b.XLSX", member="Sheet 2")),
        ("-#data.train", Part("-", member="data.train")),
        ("a.json.gz#train", Part("a.json.gz", member="train")),
        ("a.json#20", Part("a.json", rows=20)),
    ],
)
def test_a_part_of_a_file_by_its_name(text: str, part: Part) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["a.csv#train", "a.jsonl.gz#x#5", "a.json##5"])
def test_a_file_of_lines_has_no_parts_with_names(text: str) -> None:
    with pytest.raises(UsageError, match="number of rows"):
        parse_part(text)


def test_a_file_with_a_hash_in_its_name(tmp_path: Path) -> None:
    path = source(tmp_path, "a#5", numbered("a", 9))
    assert parse_part(path) == Part(path)
    assert parse_part(f"{path}#7") == Part(path, rows=7)


def test_duplicates_are_found_across_sources_and_layouts(tmp_path: Path) -> None:
    a = source(tmp_path, "a.jsonl", numbered("a", 5))
    (tmp_path / "b.csv").write_text("ask,answer\na question 3,answer 3\nother,x\n")
    report = mix(tmp_path, (a, str(tmp_path / "b.csv")))
    assert [file.duplicates for file in report.files] == [0, 1]


@pytest.mark.parametrize("jobs", [2, 3])
def test_any_number_of_jobs_leaves_the_same_near_duplicates(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "a.jsonl"
    words = [f"word{n * n % 97}" for n in range(60)]
    rows = [{"instruction": f"{words[n % 7]} {n % 50}", "output": " ".join(words[n % 40 :])} for n in range(700)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    written = []
    for number in (1, jobs):
        out = tmp_path / str(number)
        shaping = Shaping(near_duplicates=0.6)
        request = Request((f"{path}#300",), out, "x", jobs=number, chunk_bytes=5000, shaping=shaping)
        report = prepare(request)
        assert report.balanced
        written.append(((out / "x.jsonl").read_bytes(), report.left_out))
    assert written[0] == written[1]
    assert all(count > 10 for count in written[0][1].values())
    assert len(written[0][1]) == 2


def test_near_duplicates_go_and_the_rest_stays(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    text = "高血压患者平时应该注意低盐饮食，适当运动，按时服药，定期测量血压，保持心情舒畅，避免熬夜和过度劳累。"
    rows = [
        ("怎么办", text),
        ("怎么办？", text + "！"),
        ("怎么办", "完全不同的一段回答，讲的是如何照顾一只刚到家的小猫和它的饮食习惯。"),
    ]
    path = source(tmp_path, "a.jsonl", rows)
    report = mix(tmp_path, (path,), shaping=Shaping(near_duplicates=0.85))
    assert report.left_out == {"near-duplicates": 1}
    assert report.rows_out == 2


def test_what_the_test_set_asks_is_not_trained(tmp_path: Path) -> None:
    a = source(tmp_path, "a.jsonl", [("What IS  this?", "x"), ("And that?", "y")])
    test = source(tmp_path, "t.jsonl", [("what is this", "z")])
    report = mix(tmp_path, (a,), shaping=Shaping(test_files=(test,)))
    assert report.left_out == {"asked in the test set": 1}
    assert questions(tmp_path / "o" / "x.jsonl") == ["And that?"]


@pytest.mark.parametrize(("one", "other"), [("Ａ b,c", "abc"), ("你好！", "你好"), ("A\nB", "ab")])
def test_normalised_texts(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_only_the_last_exchange_is_kept(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a", "history": [["old", "answer"]], "system": "s"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    report = mix(tmp_path, (str(tmp_path / "a.jsonl"),), shaping=Shaping(last_exchange=True))
    assert report.repairs == {"cut-to-last-exchange": 1}
    assert questions(tmp_path / "o" / "x.jsonl") == ["q"]


YAML = """\
name: law
out: data
val_size: 3
seed: 7
test: t.jsonl
sources:
  - path: a.jsonl
    rows: 10
  - path: b.csv
    map: {output: reply, instruction: title}
"""


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    source(tmp_path, "a.jsonl", numbered("a", 30))
    source(tmp_path, "t.jsonl", [("q0", "z")])
    (tmp_path / "b.csv").write_text("title,reply\n" + "".join(f"q{n},r{n}\n" for n in range(8)))
    (tmp_path / "sources.yaml").write_text(YAML)
    return tmp_path / "sources.yaml"


def test_a_mixture_is_replayed_from_its_file(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare-data", str(mixture), "--no-engine-check", "--force"]
    assert app.run(command) == 0
    train = mixture.parent / "data" / "law.jsonl"
    first = train.read_bytes()
    assert len(questions(train)) == 10 + 7 - 3
    assert app.run([*command, "--frozen"]) == 0
    assert train.read_bytes() == first
    lock = json.loads((mixture.parent / "sources.lock.json").read_text())
    assert sorted(lock["inputs"]) == ["a.jsonl", "b.csv", "t.jsonl"]
    assert sorted(lock["outputs"]) == ["law", "law_val"]
    (mixture.parent / "b.csv").write_text("title,reply\nq,r\n")
    capsys.readouterr()
    assert app.run([*command, "--frozen"]) == 4
    assert "--frozen: b.csv has changed" in capsys.readouterr().err
    assert train.read_bytes() == first


def test_frozen_needs_a_lock(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["prepare-data", str(mixture), "--no-engine-check", "--frozen"]) == 4
    assert "Run once without --frozen" in capsys.readouterr().err


def test_everything_wrong_in_a_mixture_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "nam: x\nseed: one\nsources:\n  - path: a\n    rows: 0\n  - rows: 3\n  - path: b\n    map: {answer: c}\n"
    )
    assert app.run(["prepare-data", str(path), "--no-engine-check"]) == 3
    err = capsys.readouterr().err
    for words in (
        "s.yaml:1:",
        "nam: unknown key",
        "s.yaml:2:",
        "rows: expected more than 0",
        "source 2: expected",
        "map:",
    ):
        assert words in err


def test_a_part_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        mix(tmp_path, [Part(str(tmp_path / "none.csv"))])
