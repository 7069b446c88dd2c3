"""Files in other encodings are read as what they say, or refused with the likely readings; never as another text."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.readers.encodings.encoding import decide_encoding, doubt_about, wide_encoding
from lfwrap.data.readers.encodings.readings import readings
from lfwrap.data.readers.sources import TextFile, open_text
from lfwrap.errors import DataError

BENCHMARKS = Path(__file__).resolve().parents[4] / "benchmarks"
CHINESE = "问题,答案\n为什么要先付定金？,因为这样双方都有保障。\n"
SHORT = {
    "gb18030": ["问题,答案\n什么是合同,双方的协议\n", "指令,输出\n问,答\n", "q,a\n我可以退货吗？,可以\n"],
    "big5": ["問題,答案\n請問怎麼退貨？,您好，請聯絡客服。\n"],
    "cp932": ["質問,回答\n返品できますか？,はい、できます。\n"],
    "euc_jp": ["質問,回答\n山の名前は何ですか,富士山です。\n"],
    "cp949": ["질문,답변\n환불할 수 있나요?,네, 가능합니다.\n"],
    "cp1252": ["q,a\nWer war Bäckermeister Krüger?,Er führte ein großes Café in Lübeck.\n"],
    "cp1251": ["вопрос,ответ\nГде мой заказ?,Он уже в пути.\n"],
    "cp1250": ["q,a\nGdzie leży Łódź?,W środkowej Polsce, między Wartą a Pilicą.\n"],
    "koi8-r": ["вопрос,ответ\nКак вернуть деньги?,Напишите нам, пожалуйста.\n"],
    "iso2022_jp": ["質問,回答\n返品できますか？,はい、できます。\n"],
    "utf-16-le": ["質問,回答\n返品できますか？,はい、できます。\n", "q,a\nwhy,because\n", "问题,答案\n一,二\n"],
    "utf-16-be": ["вопрос,ответ\nГде мой заказ?,Он уже в пути.\n"],
    "utf-32-le": ["q,a\nwhy,because\n"],
}


def read(folder: Path, content: bytes, encoding: str | None = None) -> tuple[str, TextFile]:
    path = folder / "a.csv"
    path.write_bytes(content)
    file = open_text(str(path), folder, encoding=encoding, checked=True)
    return file.path.read_bytes()[file.start :].decode(), file


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in SHORT.items() for text in texts])
def test_a_single_row_is_read_as_what_it_says(tmp_path, encoding, text):
    found, file = read(tmp_path, text.encode(encoding))
    assert found == text
    assert file.confidence is not None
    assert 0.75 <= file.confidence < 1


def test_a_seeded_sample_of_the_benchmark_has_nothing_wrong(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import encodings as of_python

    assert "benchmarks" not in str(of_python.__file__)  # the name is taken: load the script by its path
    import importlib.util

    spec = importlib.util.spec_from_file_location("encodings_benchmark", BENCHMARKS / "encodings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "encodings_benchmark", module)
    spec.loader.exec_module(module)
    files = [sample for number, sample in enumerate(module.samples(7, 1)) if number % 4 == 0 and sample.kind != "long"]
    verdicts: Counter[str] = Counter()
    enough: Counter[str] = Counter()
    for sample, verdict in module.judge(iter(files), module.by_lfwrap):
        verdicts[verdict] += 1
        if sample.kind in {"few rows", "page"}:
            enough[verdict] += 1
    assert len({sample.encoding for sample in files}) >= 20
    assert verdicts["wrong"] == 0
    assert verdicts.total() > 120
    assert verdicts["right"] > 0.9 * verdicts.total()
    assert enough["right"] > 0.97 * enough.total()


@pytest.mark.parametrize("word", ["M\x9fller", "K\x9aln", "Pi\x96ata"])
def test_a_word_that_could_be_several_things_is_refused_with_its_readings(tmp_path, word):
    path = tmp_path / "a.csv"
    path.write_bytes(f"instruction,output\nWho is {word} then?,nobody\n".encode("latin-1"))
    with pytest.raises(DataError, match="unknown text encoding: UTF-8 fails at byte") as caught:
        decide_encoding(path, "a.csv")
    assert "--encoding " in caught.value.hint
    assert len(caught.value.findings) > 1
    assert all("reads: “" in finding.message for finding in caught.value.findings)
    assert all(name.split()[0] in caught.value.hint for name in (one.message for one in caught.value.findings))


HEBREW = "שאלה,תשובה\nמהי עיר הבירה של ישראל?,ירושלים היא עיר הבירה.\nאיך מחזירים מוצר?,שלחו לנו הודעה ונחזור אליכם.\n"
GREEK = (
    "ερώτηση,απάντηση\nΠοια είναι η πρωτεύουσα της Ελλάδας;,Η Αθήνα.\nΠώς επιστρέφω ένα προϊόν;,Στείλτε μας μήνυμα.\n"
)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1255", HEBREW), ("iso8859-8", HEBREW), ("cp1255", HEBREW.split("\n")[1]),
     ("cp1253", GREEK), ("cp1253", GREEK.split("\n")[1]), ("iso8859-7", GREEK)],
)  # fmt: skip
def test_hebrew_and_greek_are_not_taken_for_russian(tmp_path, encoding, text):
    assert read(tmp_path, text.encode(encoding))[0] == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp862", HEBREW), ("cp737", GREEK), ("cp869", GREEK),
     ("cp855", "въпрос,отговор\nКоя е столицата на България?,София е столицата.\n"),
     ("iso8859-6", "سؤال,جواب\nما هي عاصمة مصر؟,القاهرة هي عاصمة مصر.\n")],
)  # fmt: skip
def test_an_encoding_that_is_not_tried_is_refused_not_read_as_letters_of_another_alphabet(tmp_path, encoding, text):
    with pytest.raises(DataError, match="unknown text encoding"):
        read(tmp_path, text.encode(encoding))


@pytest.mark.parametrize("text", ["①髙﨑", "濵﨑", "髙德Ⅲ", "瀨髙", "正髙", "彅德", "㈱①"])
@pytest.mark.parametrize("row", ['{{"instruction":"Q","output":"{}"}}\n', "q,a\n{},OK\n", "Who is {}?\n"])
def test_a_few_rare_characters_are_refused_not_read_as_frequent_ones_of_another_encoding(tmp_path, text, row):
    with pytest.raises(DataError, match="unknown text encoding"):
        read(tmp_path, row.format(text).encode("cp932"))


def test_readings_are_shown_without_secrets(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(f"q,a\nWho is M\x9fller? ghp_{'a1B2' * 9},b\n".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        decide_encoding(path, "a.csv")
    assert "a1B2" not in str(caught.value.to_json())


def test_text_that_begins_late_counts_and_a_late_broken_byte_is_named(tmp_path):
    rows = "".join(f"why {number},because\n" for number in range(80_000))
    found, file = read(tmp_path, ("q,a\n" + rows + CHINESE).encode("gb18030"))
    assert found.endswith(CHINESE)
    assert file.encoding == "gb18030"
    path = tmp_path / "b.csv"
    path.write_bytes((CHINESE * 40 + rows).encode("gb18030") + b"\xb0\xff\n")
    with pytest.raises(
        DataError, match=rf"it reads as gb18030, but byte {len((CHINESE * 40 + rows).encode('gb18030')):,} "
    ):
        decide_encoding(path, "b.csv")


def test_the_encoding_that_reads_all_of_the_file_is_taken(tmp_path):
    """Bytes that two encodings read differently count wherever they stand."""
    rows = (
        "q,a\n"
        + "Kraków,Zażółć gęślą jaźń\n" * 3
        + "".join(f"Gdzie leży wieś {n}?,za rzeką\n" for n in range(20_000))
        + "Świętość,ź\n"
    )
    assert read(tmp_path, rows.encode("iso8859-2"))[0] == rows


def test_a_file_without_line_breaks(tmp_path):
    text = (
        "["
        + ", ".join('{"instruction":"为什么要先付定金？","output":"因为这样双方都有保障。"}' for _ in range(40_000))
        + "]"
    )
    assert read(tmp_path, text.encode("gb18030"))[0] == text
    prose = "我们在山上看见一条小路，路的两边都是花。" * 40_000
    assert read(tmp_path, prose.encode("gb18030"))[0] == prose


@pytest.mark.parametrize(
    ("encoding", "named", "better"),
    [("cp932", "gb18030", "cp932"), ("cp1252", "gb18030", "cp1252"), ("cp1251", "latin-1", "cp1251"),
     ("gb18030", "big5hkscs", None), ("cp1250", "iso8859-9", "cp1250")],
)  # fmt: skip
def test_a_named_encoding_that_reads_like_garbage_is_doubted(tmp_path, encoding, named, better):
    path = tmp_path / "a.csv"
    path.write_bytes((SHORT[encoding][0] * 3).encode(encoding))
    doubt = doubt_about(path, named)
    assert better is None or f"in {better} “" in doubt


@pytest.mark.parametrize(("encoding", "text"), [(name, texts[0]) for name, texts in SHORT.items()])
def test_the_right_name_is_not_doubted(tmp_path, encoding, text):
    found, file = read(tmp_path, text.encode(encoding), encoding)
    assert (found, file.doubt, file.confidence) == (text, "", None)


def test_another_name_for_utf8_is_doubted(tmp_path):
    assert "valid UTF-8" in read(tmp_path, CHINESE.encode(), "latin-1")[1].doubt
    assert read(tmp_path, b"q,a\nplain,ascii\n", "gb18030")[1].doubt == ""


def test_utf8_by_name_is_strict(tmp_path):
    with pytest.raises(DataError, match="not utf-8: byte 0 is no part of a character"):
        read(tmp_path, CHINESE.encode("gb18030"), "utf-8")


@pytest.mark.parametrize(
    "content", [b"q,a\nwh\0y,because\n", b"\0\0\0\0", b'{"instruction":"a\0b"}\n', b"abc\0\n" * 50]
)
def test_stray_zero_bytes_are_no_utf16(content):
    assert wide_encoding(content) is None


@given(st.binary(min_size=1, max_size=200).filter(lambda content: not content.isascii()))
def test_readings_are_what_the_codec_says(content):
    for reading in readings([content]):
        for encoding in reading.encodings:
            assert content.decode(encoding, "replace").startswith(reading.text)
