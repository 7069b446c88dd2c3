"""What prepare-data leaves behind: the data set, its entry, its report, and nothing when it fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.output.split import ValSize, parse_val_size
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import DataError, PreflightError, UsageError

SAMPLES = Path(__file__).parents[3].parent / "shared" / "samples"


def source_of(folder: Path, count: int, start: int = 0) -> str:
    path = folder / f"{start}-{count}.jsonl"
    rows = ({"instruction": f"question {n}", "input": "", "output": f"答 {n}"} for n in range(start, start + count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_entry_lists_all_columns_and_tags_and_the_rest_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset_info.json").write_text('{"old": {"file_name": "旧.json"}}', encoding="utf-8")
    prepare(Request((source_of(tmp_path, 3),), out, "law"))
    text = (out / "dataset_info.json").read_bytes()
    assert text.isascii()
    entries = json.loads(text)
    assert entries["old"] == {"file_name": "旧.json"}
    assert entries["law"]["file_name"] == "law.jsonl"
    assert entries["law"]["columns"] == {"messages": "conversations", "system": "system", "tools": "tools"}
    assert len(entries["law"]["tags"]) == 7


def test_every_row_has_all_columns_as_text(tmp_path: Path) -> None:
    prepare(Request((source_of(tmp_path, 3),), tmp_path, "x"))
    content = (tmp_path / "x.jsonl").read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    assert "答".encode() in content
    for line in content.splitlines():
        row = json.loads(line)
        assert list(row) == ["conversations", "system", "tools"]
        assert all(isinstance(turn[key], str) for turn in row["conversations"] for key in ("from", "value"))


@pytest.mark.parametrize("broken", ["[1]", "{,}", "\xff"])
def test_a_broken_registry_is_never_overwritten(tmp_path: Path, broken: str) -> None:
    (tmp_path / "dataset_info.json").write_text(broken, encoding="latin-1")
    with pytest.raises(DataError, match=r"dataset_info\.json"):
        prepare(Request((source_of(tmp_path, 3),), tmp_path, "x"))
    assert (tmp_path / "dataset_info.json").read_text(encoding="latin-1") == broken
    assert not (tmp_path / "x.jsonl").exists()


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    prepare(Request((source_of(tmp_path, 3),), tmp_path / "out", "x"))
    with pytest.raises(DataError, match="exists already") as caught:
        prepare(Request((source_of(tmp_path, 4),), tmp_path / "out", "x"))
    assert "--force" in caught.value.hint
    prepare(Request((source_of(tmp_path, 4),), tmp_path / "out", "x", force=True))
    assert len(lines(tmp_path / "out" / "x.jsonl")) == 4


@pytest.mark.parametrize("name", ["a b", "a,b", "../a", "", "dataset_info", "名"])
def test_names_that_the_engine_would_split_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        prepare(Request((source_of(tmp_path, 1),), tmp_path, name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", None), ("0.05", ValSize(fraction=0.05)), ("5%", ValSize(fraction=0.05)), ("200", ValSize(count=200))],
)
def test_val_sizes(text: str, expected: ValSize | None) -> None:
    assert parse_val_size(text) == expected


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "200%", "", "nan"])
def test_wrong_val_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--val-size"):
        parse_val_size(text)


@pytest.mark.parametrize("val_size", [ValSize(fraction=0.2), ValSize(count=40)])
def test_the_split_is_disjoint_complete_and_stable(tmp_path: Path, val_size: ValSize) -> None:
    few = prepare(Request((source_of(tmp_path, 200),), tmp_path / "few", "x", val_size=val_size))
    sources = (source_of(tmp_path, 200, 100), source_of(tmp_path, 200))
    more = prepare(Request(sources, tmp_path / "more", "x", val_size=val_size, chunk_bytes=700))
    assert few.train_rows + few.val_rows == few.rows_out == 200
    assert (more.rows_out, more.duplicates) == (300, 100)
    sides = {
        folder: (set(lines(tmp_path / folder / "x.jsonl")), set(lines(tmp_path / folder / "x_val.jsonl")))
        for folder in ("few", "more")
    }
    for train, val in sides.values():
        assert not train & val
    assert 20 <= few.val_rows <= 60
    assert "x_val" in json.loads((tmp_path / "more" / "dataset_info.json").read_text())
    if val_size.fraction:
        assert sides["few"][1] <= sides["more"][1]
        assert sides["few"][0] <= sides["more"][0]
    else:
        assert more.val_rows == 40


def test_the_seed_chooses_other_rows(tmp_path: Path) -> None:
    from lfwrap.data.formats.base import ConvertOptions

    chosen = []
    for seed in (1, 2, 1):
        options = ConvertOptions(seed=seed)
        prepare(Request((source_of(tmp_path, 90),), tmp_path / "o", "x", options, val_size=ValSize(0.3), force=True))
        chosen.append(lines(tmp_path / "o" / "x_val.jsonl"))
    assert chosen[0] == chosen[2] != chosen[1]


def test_a_validation_set_of_an_earlier_run_goes(tmp_path: Path) -> None:
    prepare(Request((source_of(tmp_path, 50),), tmp_path / "o", "x", val_size=ValSize(count=5)))
    prepare(Request((source_of(tmp_path, 50),), tmp_path / "o", "x", force=True))
    assert not (tmp_path / "o" / "x_val.jsonl").exists()
    assert list(json.loads((tmp_path / "o" / "dataset_info.json").read_text())) == ["x"]


def test_too_many_validation_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of 3 rows none would be left to train on"):
        prepare(Request((source_of(tmp_path, 3),), tmp_path / "o", "x", val_size=ValSize(count=3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strict": True}, "--strict allows none"), ({"max_rejects": 0.01}, "--max-rejects allows 1.00%")],
)
def test_rejects_can_be_errors_and_only_their_list_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction":"q","output":"a"}\n{"instruction":"w","output":""}\n')
    with pytest.raises(DataError, match=message) as caught:
        prepare(Request((str(path),), tmp_path / "o", "x", **options))
    assert caught.value.findings[0].line == 2
    assert sorted(file.name for file in (tmp_path / "o").iterdir() if not file.name.startswith(".")) == [
        "x.rejects.jsonl"
    ]
    prepare(Request((str(path),), tmp_path / "o", "x", max_rejects=0.5))


def test_rejects_show_fields_without_secrets(tmp_path: Path) -> None:
    secret = "sk-" + "a1B2" * 8
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"instruction": f"my key {secret}", "output": "", "long": "x" * 500}))
    with pytest.raises(DataError):
        prepare(Request((str(path),), tmp_path / "o", "x"))
    text = (tmp_path / "o" / "x.rejects.jsonl").read_text(encoding="utf-8")
    assert secret not in text
    assert "my key" in text
    assert len(text) < 700


def test_a_folder_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="nothing was changed"):
        prepare(Request((source_of(tmp_path, 1),), tmp_path / "file" / "o", "x"))


@pytest.mark.parametrize(
    ("sample", "rows_in", "rows_out", "rejected"),
    [
        ("alpaca/alpaca_en_demo.json", 999, 985, 0),
        ("alpaca/alpaca_zh_demo.json", 1000, 992, 0),
        ("alpaca/identity.json", 91, 91, 0),
        # 7,266 rows are distinct with department and title, 7,248 as what is trained: question and answer
        ("csv/toyhom_internal_med_sample.csv", 7644, 7248, 0),
        ("formats/csv_gb18030.csv", 3, 3, 0),
        ("formats/csv_ragged_shift.csv", 2, 1, 1),
        ("formats/csv_semicolon_cn_header.csv", 1, 1, 0),
        ("formats/csv_utf16_tab.csv", 1, 1, 0),
        ("formats/csv_utf8.csv", 3, 3, 0),
        ("formats/csv_utf8_bom_crlf.csv", 3, 3, 0),
    ],
)
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder ../shared/samples is absent")
def test_real_samples_with_exact_counts(
    tmp_path: Path, sample: str, rows_in: int, rows_out: int, rejected: int
) -> None:
    report = prepare(Request((str(SAMPLES / sample),), tmp_path, "x"))
    assert (report.rows_in, report.rows_out, report.rejected) == (rows_in, rows_out, rejected)
    assert report.balanced
    assert len((tmp_path / "x.jsonl").read_bytes().splitlines()) == rows_out
