"""A folder of Hugging Face datasets is read as it was saved: its files, in their order, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.readers.listing import list_sources
from lfwrap.data.request import Request
from lfwrap.errors import DataError

pa = pytest.importorskip("pyarrow")


def save(folder: Path, *shards: list[int], names: list[str] | None = None) -> list[str]:
    """What ``Dataset.save_to_disk`` leaves in a folder."""
    folder.mkdir(parents=True)
    names = names or [f"data-{n:05d}-of-{len(shards):05d}.arrow" for n in range(len(shards))]
    for name, numbers in zip(names, shards, strict=True):
        table = pa.table({"question": [f"q{n}" for n in numbers], "answer": [f"a{n}" for n in numbers]})
        with pa.ipc.new_stream(str(folder / name), table.schema) as sink:
            sink.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text('{"features": {}}')
    return names


def answers(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "out/x.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"][1]["value"] for line in lines]


@pytest.mark.parametrize("names", [None, ["b.arrow", "a.arrow"]])
def test_files_come_in_the_order_of_the_state(tmp_path: Path, names: list[str] | None) -> None:
    save(tmp_path / "set", [3, 1], [2, 4], names=names)
    (tmp_path / "set/cache-0123.arrow").write_bytes(b"left by a map")
    report = prepare(Request((str(tmp_path / "set"),), tmp_path / "out", "x"))
    assert answers(tmp_path) == ["a3", "a1", "a2", "a4"]
    assert len(report.files) == 2


def test_of_several_splits_one_has_to_be_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / "set" / split, [1])
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="2 splits: train, test") as caught:
        list(list_sources([str(tmp_path / "set")]).names)
    assert str(tmp_path / "set/train") in caught.value.hint
    assert list(list_sources([str(tmp_path / "set/train")]).names) == [
        str(tmp_path / "set/train/data-00000-of-00001.arrow")
    ]


def test_a_single_split_is_taken(tmp_path: Path) -> None:
    save(tmp_path / "set/train", [1])
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(list(list_sources([str(tmp_path / "set")]).names)) == 1


def test_a_file_that_the_state_names_has_to_be_there(tmp_path: Path) -> None:
    names = save(tmp_path / "set", [1], [2])
    (tmp_path / "set" / names[1]).unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow is missing"):
        list(list_sources([str(tmp_path / "set")]).names)


def test_rows_picked_by_an_index_are_not_guessed(tmp_path: Path) -> None:
    save(tmp_path / "set", [1])
    state = {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]}
    (tmp_path / "set/state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="picked by an index"):
        list(list_sources([str(tmp_path / "set")]).names)


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": []}', '{"_data_files": 3}'])
def test_another_state_is_a_file_like_any(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    assert list(list_sources([str(tmp_path)]).names) == [str(tmp_path / "state.json")]
