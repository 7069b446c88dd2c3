"""However the texts of a line are spelled, the fast path does with it what the record path does."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfwrap.data.convert.fast_path import convert_block
from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.readers.blocks import LineBlock, NotUtf8Error
from lfwrap.data.schema.plain_rows import PlainColumns

CONVERSION = Conversion("alpaca", ConvertOptions())
SHAPES = [PlainColumns("instruction", "input", "output"), PlainColumns("instruction", "", "output")]
LINE = b'{"instruction": "q", "input": "", "output": "a"}'
# Spelled as orjson does or otherwise, no escapes at all, no UTF-8, ends of texts and what only looks like them, blanks.
PIECES = [
    *(rb"\/", rb"\u00e9", rb"\ud83d\ude00", rb"\u000a", rb"\u0008", rb"\u0022", rb"\ud800", rb"\u3000"),
    *(rb"\n", rb"\t", rb"\b", rb"\f", rb"\r", rb"\x", rb"\\", rb"\"", rb"\\\"", rb"\\" + b'"', b"\\"),
    *(b"\t", b"\x01", b"\x1f", b"\x7f", b"\r", b'"', b"\xff", b"\xe9", b"\xed\xa0\x80", b"\xc0\xaf"),
    *(b'", "input": "', rb'\", "input": "', rb'\\", "input": "', b'", "output": "', rb'\", "output": "'),
    *(b'"}', rb"\"}", b'", "x": "', b'","output":"', b"{", b"/", b"1", b"a", b"", b" ", b"<|im_end|>"),
    *(text.encode() for text in ("é", "😀", "问", "、", "あ", "\u3000", "\u2003", "\xa0", "\u1680", "\u2028")),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join)
FRAMES = [
    b'{"instruction": "%b", "input": "%b", "output": "%b"}',
    b'{"instruction":"%b","input":"%b","output":"%b"}',
    b'{"instruction": "%b", "output": "%b%b"}',
    b'{"output": "%b", "input": "%b", "instruction": "%b"}',
    b'{"instruction": "%b", "input": "%b", "output": "%b", "x": 1}',
    b'{"instruction": "%b", "input": "%b", "output": "b", "output": "%b"}',
    b'{"instruction": "%b", "instruction": "%b", "input": "", "output": "%b"}',
    b'{"instruction": "%b", "input": null, "output": "%b%b"}',
    b'{"instruction": "%b", "input": 1, "output": "%b"} %b',
    b'{"instruction": "%b", "input": "%b", "output": "%b"}\r',
    b' {"instruction": "%b", "input": "%b", "output": "%b"}',
    b'\xef\xbb\xbf{"instruction": "%b", "input": "%b", "output": "%b"}',
]
LINES = st.builds(lambda frame, *texts: frame % texts, st.sampled_from(FRAMES), TEXTS, TEXTS, TEXTS) | st.sampled_from(
    [LINE, b"", b" ", b"[]", b"1", LINE[:-1], LINE * 2]
)


def account(content: bytes, columns: PlainColumns | None) -> tuple[Any, ...]:
    block = LineBlock(content)
    rows = convert_block(block, CONVERSION, columns)
    notes = {place: (dict(note.repairs), note.warnings) for place, note in rows.notes.items()}
    rejects = {place: (reject.rule, reject.reason) for place, reject in rows.rejects.items()}
    return bytes(rows.output), rows.keys, rows.skipped, rejects, notes, block.size, list(block.blanks)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4), st.sampled_from(SHAPES), st.booleans(), st.booleans())
def test_lanes_agree_on_any_spelling(lines: list[bytes], columns: PlainColumns, usual: bool, ended: bool) -> None:
    content = b"\n".join([LINE, *lines] if usual else lines) + (b"\n" if ended else b"")
    try:
        content.decode()
    except UnicodeDecodeError:
        with pytest.raises(NotUtf8Error):
            account(content, columns)
    else:
        assert account(content, columns) == account(content, None)
