"""The table of export formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.export import formats
from lfwrap.export.formats.table import FORMATS, load_format, written_formats
from lfwrap.export.options import ExportOptions


def test_every_module_with_a_format_is_in_the_table():
    folder = Path(formats.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "\nFORMAT = " in path.read_text(encoding="utf-8")}
    assert modules == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_named_as_its_module_and_uses_files_of_another_that_is_there(name):
    one = load_format(name)
    assert one.name == name
    assert not one.files_of or one.files_of in FORMATS


def test_an_ollama_model_brings_gguf_files():
    asked = ExportOptions(formats=("ollama", "gguf", "merged"))
    assert [one.name for one in written_formats(asked)] == ["merged", "gguf"]


@pytest.mark.parametrize(
    ("chosen", "dtype", "expected"),
    [(("merged",), "bfloat16", "bfloat16"), (("gguf",), "bfloat16", "float16"), (("gguf",), "float32", "float32"),
     (("gguf", "merged"), "bfloat16", "bfloat16")],
)  # fmt: skip
def test_weights_that_only_gguf_files_are_made_from_keep_more_digits(chosen, dtype, expected):
    assert ExportOptions(dtype=dtype, formats=chosen).merged_dtype == expected
