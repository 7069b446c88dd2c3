"""Encodings are found strictly or named by the user; columns are found by name or mapped; wrong words are refused."""

from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.output.registry import check_name, dataset_entry, merge_registry, read_registry
from lfwrap.data.readers.encodings.encoding import (
    Decision,
    bom_of,
    check_encoding_name,
    decide_encoding,
    looks_like_utf8,
    transcode,
)
from lfwrap.data.readers.tables.csv_header import read_header
from lfwrap.data.request import parse_delimiter
from lfwrap.data.schema.columns import ALIASES, FIELDS, normalise_name, parse_mapping, resolve_columns
from lfwrap.errors import DataError, UsageError

TEXT = "名称,答案\n狗,忠诚的动物\n"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_an_encoding_without_a_mark_is_found(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes((TEXT * 50_000).encode(encoding))  # more than one block, so that characters lie across its end
    assert decide_encoding(path, "a.csv").encoding == encoding


@pytest.mark.parametrize("content", [b"", b"plain ascii"])
def test_ascii_is_utf8(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert decide_encoding(path, "a") == Decision("utf-8", 1.0)


@pytest.mark.parametrize(
    ("content", "utf8_at"),
    [(b"abc\xff\xff", "3"), (b"ab\xe7", "2"), (b"x" * (1 << 20) + b"\xe7", "1,048,576"), (b"\x80", "0")],
)
def test_what_no_encoding_fits_says_where_utf8_fails(tmp_path, content, utf8_at):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.csv: unknown text encoding: UTF-8 fails at byte {utf8_at}[,;]") as found:
        decide_encoding(path, "a.csv")
    assert "--encoding" in found.value.hint


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (codecs.BOM_UTF8 + b"a", ("utf-8", 3)),
        (codecs.BOM_UTF16_LE + b"a\0", ("utf-16-le", 2)),
        (codecs.BOM_UTF16_BE + b"\0a", ("utf-16-be", 2)),
        (codecs.BOM_UTF32_LE + b"a\0\0\0", ("utf-32-le", 4)),
        (codecs.BOM_UTF32_BE, ("utf-32-be", 4)),
        (b"a", None),
        (b"", None),
    ],
)
def test_byte_order_marks(head, expected):
    assert bom_of(head) == expected


def test_a_character_cut_off_is_no_objection():
    assert looks_like_utf8("狗".encode()[:2])
    assert not looks_like_utf8("狗".encode("gb18030") + b"a")


@given(st.text(alphabet=st.characters(codec="utf-8")), st.sampled_from(["utf-8", "utf-16-le", "utf-32-be", "gb18030"]))
def test_transcoding_keeps_the_text(tmp_path_factory, text, encoding):
    path = tmp_path_factory.mktemp("t") / "a"
    path.write_bytes(b"!!" + text.encode(encoding))
    sink = io.BytesIO()
    transcode(path, sink, encoding=encoding, skip=2, name="a")
    assert sink.getvalue().decode() == text


@pytest.mark.parametrize(
    ("content", "encoding", "near"),
    [(b"abc\xff", "ascii", "3"), (b"a\0b", "utf-16-le", "3"), (b"\xd8\x00\xd8\x00", "utf-16-be", "0")],
)
def test_a_byte_that_the_named_encoding_lacks_is_named(tmp_path, content, encoding, near):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.txt: not {encoding}: .* near byte {near}"):
        transcode(path, io.BytesIO(), encoding=encoding, skip=0, name="a.txt")


def test_names_of_encodings():
    assert check_encoding_name("GBK") == "gbk"
    assert check_encoding_name("latin-1") == "iso8859-1"
    with pytest.raises(UsageError, match="--encoding klingon: no such encoding"):
        check_encoding_name("klingon")


@pytest.mark.parametrize(
    ("text", "delimiter"), [("tab", "\t"), (r"\t", "\t"), (";", ";"), ("pipe", "|"), ("comma", ",")]
)
def test_delimiters_as_people_write_them(text, delimiter):
    assert parse_delimiter(text) == delimiter


@pytest.mark.parametrize("text", ["", "::", "tabs"])
def test_other_delimiters_are_refused(text):
    with pytest.raises(UsageError, match="expected one character, or tab"):
        parse_delimiter(text)


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ("instruction,output\n", ",", ("instruction", "output")),
        ("instruction;output;a,b\n", ";", ("instruction", "output", "a,b")),
        ("问题\t答案\n", "\t", ("问题", "答案")),
        ("\n\nask|reply\n", "|", ("ask", "reply")),
        ('"a,1",b\n', ",", ("a,1", "b")),
    ],
)
def test_the_delimiter_is_the_one_that_yields_known_names(text, delimiter, names):
    header = read_header(text, None, "a.csv")
    assert (header.delimiter, header.names) == (delimiter, names)
    assert header.size_bytes == len(text.encode())


def test_a_delimiter_that_the_header_has_not():
    with pytest.raises(UsageError, match=r"a\.csv:1  --delimiter: there is no semicolon") as found:
        read_header("instruction,output\n1,2\n", ";", "a.csv")
    assert "','" in found.value.hint
    assert read_header("instruction\n1\n", ";", "a.csv").names == ("instruction",)  # nothing better to advise


@pytest.mark.parametrize("text", ["", ",,\n", "  \n"])
def test_a_table_without_names(text):
    with pytest.raises(DataError, match=r"a\.csv:1  the first row names no columns"):
        read_header(text, None, "a.csv")


@pytest.mark.parametrize(("target", "alias"), [(target, alias) for target in ALIASES for alias in ALIASES[target]])
def test_every_alias_is_found_in_any_spelling(target, alias):
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in alias)
    for name in (alias, alias.upper(), f" {alias} ", wide):
        assert resolve_columns([name], {}) == {target: name}


def test_no_alias_means_two_fields():
    names = [normalise_name(alias) for aliases in ALIASES.values() for alias in aliases]
    assert len(names) == len(set(names))
    assert set(ALIASES) == set(FIELDS)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["output"], "expected FIELD=COLUMN"),
        (["output="], "expected FIELD=COLUMN"),
        (["outptu=reply"], "instruction, input, output, system, history"),
        (["output=a", "OUTPUT=b"], "output is given twice"),
    ],
)
def test_mappings_that_make_no_sense(pairs, words):
    with pytest.raises(UsageError, match=words):
        parse_mapping(pairs)


def test_a_mapping_wins_over_the_aliases():
    names = ["Question", "prompt", "reply"]
    with pytest.raises(DataError, match="could all be the instruction") as found:
        resolve_columns(names, {})
    assert "--map instruction=Question" in found.value.hint
    mapping = parse_mapping(["instruction=prompt", "input=question"])
    assert resolve_columns(names, mapping) == {"instruction": "prompt", "input": "Question", "output": "reply"}
    with pytest.raises(UsageError, match="there is no column 'x'; the columns are Question, prompt, reply"):
        resolve_columns(names, {"output": "x"})


@pytest.mark.parametrize("name", ["a", "law_qa", "v1.2-b", "0"])
def test_usable_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a,b", "a b", "../a", "a/b", ".a", "-a", "狗", "dataset_info", "a\n"])
def test_names_that_the_engine_or_the_disk_would_not_like(name):
    with pytest.raises(UsageError, match="not a usable name"):
        check_name(name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{\n  broken", r"dataset_info.json:2:3  not valid JSON"),
        (b"[]", "expected an object"),
        (b"\xff", "can't be read"),
    ],
)
def test_a_registry_that_is_none_is_never_overwritten(tmp_path, content, words):
    path = tmp_path / "dataset_info.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        merge_registry(tmp_path, {"a": dataset_entry("a.jsonl")})
    assert path.read_bytes() == content


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.integers() | st.none()),
       st.text(alphabet="abc", min_size=1))  # fmt: skip
def test_merging_loses_no_entry(tmp_path_factory, others, name):
    folder = tmp_path_factory.mktemp("r")
    others.pop(name, None)
    merge_registry(folder, others)
    kept = read_registry(folder)
    merge_registry(folder, {name: dataset_entry("x.jsonl")})
    assert read_registry(folder) == kept | {name: dataset_entry("x.jsonl")}
    assert (folder / "dataset_info.json").read_bytes().isascii()
    merge_registry(folder, {name: None})
    assert read_registry(folder) == kept
