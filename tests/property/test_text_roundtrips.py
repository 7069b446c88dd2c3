"""Text through files and rules: CSV in any dress gives the same rows, and no secret survives redaction."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.data.schema.redaction import find_secrets, redact

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20).filter(
    str.strip
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(CELL, st.just("") | CELL, CELL), min_size=1, max_size=8, unique=True),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
def test_csv(rows, delimiter, line_break, encoding):
    """Rows → a CSV file, quoted as needed, in any encoding and with any delimiter → the same rows."""
    sink = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if line_break == "\n" else csv.QUOTE_MINIMAL  # with a bare \n it would leave \r unquoted
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=line_break, quoting=quoting)
    writer.writerows([("instruction", "input", "output"), *rows])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.csv").write_bytes(sink.getvalue().encode(encoding))
        told_encoding = "gb18030" if encoding == "gb18030" else None  # a short text may be both
        report = prepare(Request((str(folder / "a.csv"),), folder / "o", "x", encoding=told_encoding))
        written = [json.loads(line)["conversations"] for line in (folder / "o/x.jsonl").read_bytes().splitlines()]
    asked = [question + "\n" + more if more else question for question, more, _ in rows]
    distinct = dict.fromkeys(zip(asked, (answer for _, _, answer in rows), strict=True))
    assert [(turns[0]["value"], turns[1]["value"]) for turns in written] == list(distinct)
    assert (report.rows_in, report.rejected) == (len(rows), 0)


@given(TEXT, TEXT)
def test_redaction_leaves_no_secret(before, after):
    text = f"{before} ghp_{'a1B2' * 9} {after}"
    assert find_secrets(text)
    assert not find_secrets(redact(text))
    assert "a1B2a1B2" not in redact(text)
