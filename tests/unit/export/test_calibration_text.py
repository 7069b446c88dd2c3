"""A file's texts are joined until they are long enough to calibrate on."""

from __future__ import annotations

import pytest

from lfwrap.errors import DataError
from lfwrap.export.calibration_text import SAMPLE_CHARACTERS, SAMPLES, calibration_samples


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "one\n\ntwo"), ("a.jsonl", '{"x": "one", "y": ["two"]}\n'), ("a.json", '[{"messages": ["one two"]}]')],
)
def test_short_texts_are_joined_until_a_sample_is_long_enough(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    samples = list(calibration_samples(path))
    assert len(samples) == SAMPLES
    assert min(map(len, samples)) >= SAMPLE_CHARACTERS


@pytest.mark.parametrize("content", ["", "  \n"])
def test_a_file_without_text_is_refused(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(DataError, match="no text to calibrate on"):
        list(calibration_samples(path))
