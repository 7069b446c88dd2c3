"""Lines whose texts are copied as they are spelled come out as if they had been read and written."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfwrap.data.blocks import LineBlock, NotUtf8Error
from lfwrap.data.convert import Conversion
from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.lanes import SlowLane
from lfwrap.data.plain import Shape
from lfwrap.data.quick import convert_block
from lfwrap.data.verbatim import copy_lines, frame_of, lines_to_read

CONVERSION = Conversion("alpaca", ConvertOptions())
SHAPES = [Shape("instruction", "input", "output"), Shape("instruction", "", "output")]
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


def account(content: bytes, shape: Shape | None) -> tuple[Any, ...]:
    block = LineBlock(content)
    rows = convert_block(block, CONVERSION, shape)
    notes = {place: (dict(note.repairs), note.warnings) for place, note in rows.notes.items()}
    rejects = {place: (reject.rule, reject.reason) for place, reject in rows.rejects.items()}
    return bytes(rows.output), rows.keys, rows.skipped, rejects, notes, block.size, list(block.blanks)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4), st.sampled_from(SHAPES), st.booleans(), st.booleans())
def test_what_is_copied_is_what_would_be_written(lines: list[bytes], shape: Shape, usual: bool, ended: bool) -> None:
    content = b"\n".join([LINE, *lines] if usual else lines) + (b"\n" if ended else b"")
    try:
        content.decode()
    except UnicodeDecodeError:
        with pytest.raises(NotUtf8Error):
            account(content, shape)
    else:
        assert account(content, shape) == account(content, None)


@pytest.mark.parametrize(
    ("written", "in_place", "is_copied"),
    [
        (b"a", b"a", True),
        (b": ", b":", True),
        (b", ", b",", True),
        (b'"a"', rb'"a \n \t \"b\""', True),
        (b'"q"', rb'"\n\"q\""', True),
        (b'"input": ""', '"input": "é 😀"'.encode(), True),
        (b'"a"', b'"\\/"', False),
        (b'"a"', rb'"\u00e9"', False),
        (b'"a"', rb'"\\"', False),
        (b'"a"', rb'"\d"', False),
        (b'"a"', b'"a\tb"', False),
        (b'"q"', b'" "', False),
        (b'"q"', b'"q", "output": "b"', False),
        (b"}", b"}\r", False),
        (b"}", b', "x": 1}', False),
    ],
)
def test_lines_in_our_own_spelling_are_copied(written: bytes, in_place: bytes, is_copied: bool) -> None:
    content, left = LINE.replace(written, in_place) + b"\n", []
    frame = frame_of(content, SHAPES[0])
    assert frame is not None
    to_read = lines_to_read(content, frame)
    assert to_read is not None
    slow = SlowLane(LineBlock(content), CONVERSION)
    assert copy_lines(content, frame, to_read, slow, lambda position, _: left.append(position)) == 1
    assert (left == [], len(slow.rows.keys)) == (is_copied, int(is_copied))


def test_where_most_lines_must_be_read_none_is_copied() -> None:
    content = LINE.replace(b'"a"', b'"' + rb"\u00e9" * 20 + b'"') + b"\n"
    frame = frame_of(content, SHAPES[0])
    assert frame is not None
    assert lines_to_read(content, frame) == {0}
    assert lines_to_read(content * 100, frame) is None
    assert lines_to_read(content + (LINE + b"\n") * 300 + content, frame) == {0, 301}
    assert lines_to_read(content + b"\xff", frame) is None
