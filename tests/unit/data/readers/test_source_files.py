"""Files as people have them: packed, in archives, in folders among others, misnamed, and gone while they are read."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.output.data_report import DataReport
from lfwrap.data.prepare import Listener, prepare
from lfwrap.data.readers import archives
from lfwrap.data.request import Request
from lfwrap.errors import DataError, LfwrapError, UsageError


def lines(*questions: str) -> bytes:
    rows = ({"instruction": question, "input": "", "output": f"to {question}"} for question in questions)
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def run(folder: Path, *sources: str | Path, **options: Any) -> DataReport:
    report = prepare(Request(tuple(map(str, sources)), folder / "out", "x", force=True, **options))
    assert report.balanced
    return report


def asked(folder: Path) -> list[str]:
    written = (folder / "out" / "x.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"][0]["value"] for line in written]


def zst(content: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    half = len(content) // 2
    compressor = zstandard.ZstdCompressor()
    return bytes(compressor.compress(content[:half]) + compressor.compress(content[half:]))


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zst}
EACH_PACKING = pytest.mark.parametrize("packing", PACKERS)


@EACH_PACKING
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines("a", "b")),
        ("a.JSON", b'{"data": [' + b",".join(lines("a", "b").splitlines()) + b"]}"),
        ("a.csv", "提问,回复\na,to a\nb,to b\n".encode("gb18030")),
        ("a.jsonlines", lines("a", "b").replace(b"\n", b"\r\n")),
        ("a.txt", lines("a", "b")),
    ],
)
def test_packed_files_are_read_by_their_first_bytes(tmp_path: Path, packing: str, name: str, content: bytes) -> None:
    packed = PACKERS[packing](content)
    for full_name in (f"{name}.{packing}", f"{name}.{packing.upper()}", name, f"{name}.gz"):
        path = tmp_path / full_name
        path.write_bytes(packed)
        run(tmp_path, path)
        assert asked(tmp_path) == ["a", "b"]


def test_a_file_that_is_not_packed_whatever_its_suffix_says(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(lines("a"))
    run(tmp_path, tmp_path / "a.jsonl.gz")
    assert asked(tmp_path) == ["a"]


@EACH_PACKING
@pytest.mark.parametrize("cut", [6, -4, -9])
def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path, packing: str, cut: int) -> None:
    path = tmp_path / f"a.jsonl.{packing}"
    path.write_bytes(PACKERS[packing](os.urandom(3000).hex().encode() + lines("a"))[:cut])
    with pytest.raises(DataError, match=r"broken archive|is empty") as caught:
        run(tmp_path, path)
    assert f"a.jsonl.{packing}" in caught.value.message


def test_the_data_files_of_a_zip_archive_are_sources(tmp_path: Path) -> None:
    members = {
        "b/second.jsonl": lines("b"),
        "a.JSON": b"[" + lines("a").strip() + b"]",
        "c.jsonl.gz": gzip.compress(lines("c")),
        "README.md": b"# rows",
        "__MACOSX/._a.json": b"\0",
        "inner.zip": b"PK",
    }
    path = zipped(tmp_path / "x.ZIP", members)
    report = run(tmp_path, path)
    assert [file.file for file in report.files] == [f"{path}!b/second.jsonl", f"{path}!a.JSON", f"{path}!c.jsonl.gz"]
    assert asked(tmp_path) == ["b", "a", "c"]
    assert [Path(file).name for file, _ in report.passed_over] == [
        f"{path.name}!README.md",
        "._a.json",
        "x.ZIP!inner.zip",
    ]
    run(tmp_path, f"{path}!a.JSON")
    assert asked(tmp_path) == ["a"]
    with pytest.raises(DataError, match=r"there is no b\.jsonl in it"):
        run(tmp_path, f"{path}!b.jsonl")


def test_tables_in_a_zip_archive(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book, content = openpyxl.Workbook(), io.BytesIO()
    for cells in (["ask", "answer"], ["a", "to a"]):
        book.active.append(cells)
    book.save(content)
    run(tmp_path, zipped(tmp_path / "x.zip", {"t.xlsx": content.getvalue()}))
    assert asked(tmp_path) == ["a"]
    for name in ("t.json", "t.xlsx.gz"):
        (tmp_path / name).write_bytes(gzip.compress(content.getvalue()) if name.endswith("gz") else content.getvalue())
        run(tmp_path, tmp_path / name)
        assert asked(tmp_path) == ["a"]


def test_archives_that_cannot_be_read_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no data files in it, only x\.zip!x\.md"):
        run(tmp_path, zipped(tmp_path / "x.zip", {"x.md": b""}))
    (tmp_path / "y.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"y\.zip: broken archive"):
        run(tmp_path, tmp_path / "y.zip")
    whole = zipped(tmp_path / "e.zip", {"a.jsonl": lines("a")}).read_bytes()
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "e.zip").write_bytes(encrypted)
    with pytest.raises(DataError, match=r"e\.zip!a\.jsonl: it is encrypted"):
        run(tmp_path, tmp_path / "e.zip")
    monkeypatch.setattr(archives, "_BOMB_BYTES", 1 << 20)
    for bomb in (
        zipped(tmp_path / "b.zip", {"a.jsonl": b" " * (5 << 20)}),
        tmp_path / "b.jsonl.gz",
        tmp_path / "b.bz2",
    ):
        if bomb.suffix != ".zip":
            bomb.write_bytes((gzip.compress if bomb.suffix == ".gz" else bz2.compress)(b" " * (5 << 20)))
        with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
            run(tmp_path, tmp_path / bomb)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.jsonl"])
def test_a_tar_archive_is_named_as_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(lines("a"))
    with tarfile.open(tmp_path / name, "w:gz" if "z" in name else "w") as archive:
        archive.add(tmp_path / "a", "a.jsonl")
    with pytest.raises(DataError, match="a tar archive is not read") as caught:
        run(tmp_path, tmp_path / name)
    assert "Unpack it" in caught.value.hint


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a.jsonl", "b.JSONL", "sub/c.jsonlines", "d.ndjson"):
        (folder / name).write_bytes(lines(name))
    for name in ("README.md", "LICENSE", "dataset_infos.json", "old.report.json", "x.tar.gz", ".env", ".git/config"):
        (folder / name).write_bytes(b"x")
    zipped(folder / "z.zip", {"e.jsonl": lines("e"), "notes.txt.bak": b"n"})
    (folder / "loop").symlink_to(folder)
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.jsonl")
    heard: list[Any] = []
    request = Request((str(folder),), tmp_path / "out", "x")
    report = prepare(request, Listener(passed_over=heard.extend))
    assert asked(tmp_path) == ["a.jsonl", "b.JSONL", "d.ndjson", "sub/c.jsonlines", "e"]
    why = {str(Path(file).relative_to(folder)): why for file, why in report.passed_over}
    assert why == {
        "README.md": ".md is no suffix of data",
        "LICENSE": "it has no suffix",
        "dataset_infos.json": "it describes data sets",
        "old.report.json": "written by lfwrap",
        "x.tar.gz": "an archive of a kind that is not read; unpack it",
        ".env": "hidden",
        ".git": "hidden",
        "z.zip!notes.txt.bak": ".bak is no suffix of data",
        "loop": "a link to a folder",
        "gone.jsonl": "a link to nothing",
        "pipe.jsonl": "no regular file",
    }
    assert [(each.file, each.why) for each in heard] == report.passed_over
    written = json.loads((tmp_path / "out" / "x.report.json").read_text())
    assert written["skipped_files"] == [{"file": file, "why": why} for file, why in report.passed_over]


def test_a_folder_without_data_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=r"in: no data files in it$"):
        run(tmp_path, tmp_path / "in")
    (tmp_path / "in" / "README.md").touch()
    with pytest.raises(DataError, match=r"only README\.md \(\.md is no suffix of data\)"):
        run(tmp_path, tmp_path / "in")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("h.arrow", lines("a")),
        ("h.parquet", lines("a")),
        ("h.xlsx", lines("a")),
        ("h.json", b"%PDF-1.7 " + lines("a")),
        ("h.csv", b"PK\x03\x04 no archive"),
        ("h.jsonl", b"7z\xbc\xaf\x27\x1c\0\0"),
        ("h.json", b"ask,answer\nq,a\n"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    if name.endswith((".arrow", ".parquet")):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LfwrapError) as caught:
        run(tmp_path, tmp_path / name)
    assert name in caught.value.message
    assert caught.value.hint


def test_parquet_by_another_name(tmp_path: Path) -> None:
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(pa.table({"question": ["q"], "answer": ["a"]}), tmp_path / "b.json")
    run(tmp_path, tmp_path / "b.json")
    assert asked(tmp_path) == ["q"]


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*map(str, range(50))))

    def spoil(_: int) -> None:
        if change == "append":
            path.write_bytes(lines(*map(str, range(51))))
        elif change == "replace":
            (tmp_path / "b").write_bytes(path.read_bytes())
            (tmp_path / "b").replace(path)
        else:
            path.unlink(missing_ok=True)

    request = Request((str(path),), tmp_path / "out", "x", chunk_bytes=200)
    with pytest.raises(DataError, match=r"a\.jsonl: (it changed while it was read|can't be read)"):
        prepare(request, Listener(advanced=spoil))
    assert not (tmp_path / "out" / "x.jsonl").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines("a"))
    path.chmod(0)
    with pytest.raises(DataError, match=r"a\.jsonl: can't be read: Permission denied"):
        run(tmp_path, path)


def test_an_error_of_the_system_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines("a"))
    plain = Path.open

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.jsonl: can't be read: Permission denied; nothing was written"):
        run(tmp_path, path)


def test_a_terminal_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(UsageError, match="this is a terminal"):
        run(tmp_path, "-")


@pytest.mark.parametrize("other", ["test.jsonl", "law_val.jsonl", "validation-00000-of-00001.jsonl", "dev/a.jsonl"])
def test_a_folder_whose_names_say_validation_or_test_is_not_mixed(tmp_path: Path, other: str) -> None:
    folder = tmp_path / "f"
    for name in ("train.jsonl", other):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"instruction": "q", "output": "a"}\n')
    with pytest.raises(DataError, match="not mixed"):
        prepare(Request((str(folder),), tmp_path / "o", "x"))
    named = prepare(Request((str(folder / "train.jsonl"), str(folder / other)), tmp_path / "o", "x"))
    assert named.rows_in == 2  # named one by one, they are what the user wants


@pytest.mark.parametrize("raw", [b"caf\xe9.jsonl", b"\xff.jsonl", b"\x93\xfa.jsonl"])
@pytest.mark.parametrize("rest", ["", "not json\n", '{"instruction": "Second?", "output": ""}\n'])
def test_a_file_whose_name_is_no_text_is_read_and_named(tmp_path, raw, rest):
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(os.path.join(os.fsencode(folder), raw))  # noqa: PTH118 - of bytes
    try:
        with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write('{"instruction": "First?", "output": "yes"}\n' + rest)
    except OSError:
        pytest.skip("the file system takes names of text alone")
    report = prepare(Request((str(folder),), tmp_path / "out", "x"))
    assert report.rows_out == 1
    assert "\\udc" in json.loads((tmp_path / "out" / "x.report.json").read_text("utf-8"))["files"][0]["file"]
