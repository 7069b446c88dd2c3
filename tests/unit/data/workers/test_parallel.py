"""Lines on their way from a worker to its parent: in shared memory, in a file where they don't fit."""

from pathlib import Path

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.data.workers import parallel
from lfwrap.data.workers.parallel import Slots, put_in_file, take_from_file


def test_a_slot_holds_what_fits_until_it_is_released() -> None:
    slots = Slots(1, 8)
    slot = slots.acquire()
    place = slots.fill(slot, b"line\n")
    assert place is not None
    assert bytes(slots.view(place)) == b"line\n"
    assert slots.fill(slot, b"too long a line\n") is None
    slots.release(slot)
    assert slots.acquire() == slot


def test_a_file_of_lines_is_gone_once_it_is_read(tmp_path: Path) -> None:
    path = put_in_file(b"a\nb\n", tmp_path)
    assert take_from_file(path) == b"a\nb\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slot_bytes", [1, 2000, 1 << 20])
def test_the_way_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot_bytes: int) -> None:
    source = tmp_path / "a.jsonl"
    rows = (f'{{"instruction":"q{n % 150}","input":"","output":"{"a" * (n % 90)}b"}}' for n in range(400))
    source.write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setattr(parallel, "_SLOT_BYTES", slot_bytes)
    written = []
    for jobs in (1, 2, 3):
        out = tmp_path / str(jobs)
        report = prepare(Request((str(source),), out, "x", jobs=jobs, chunk_bytes=1500))
        assert report.balanced
        written.append((out / "x.jsonl").read_bytes())
        assert not list(out.glob(".lfwrap-staging-*"))
    assert written[0] == written[1] == written[2]
