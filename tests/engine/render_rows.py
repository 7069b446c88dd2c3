"""Render rows as the engine trains them: render_rows.py IN OUT [encode], both JSON; runs in the engine's Python.

IN is ``{template: [row, …]}``. OUT holds, for every row, what the engine's own converter and template make of it:
``{"turns": [[prompt, response], …], "calls": [[[name, arguments], …] or null, …]}``, decoded, with the calls that its
extractor finds. With ``encode`` nothing is decoded: OUT holds the number of turns, or the exception.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llamafactory.data.converter import SharegptDatasetConverter
from llamafactory.data.parser import DatasetAttr
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def byte_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(special + alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0], pad_token=special[0])


def dataset_attr() -> DatasetAttr:
    attr = DatasetAttr("file", dataset_name="rows.jsonl", formatting="sharegpt")
    attr.messages, attr.system, attr.tools = "conversations", "system", "tools"
    return attr


def render(row: dict, converter: SharegptDatasetConverter, template, tokenizer) -> dict:
    example = converter(row)
    messages = example["_prompt"] + example["_response"]
    pairs = template.encode_multiturn(tokenizer, messages, example["_system"], example["_tools"])
    turns = [[tokenizer.decode(ids) for ids in pair] for pair in pairs]
    end = tokenizer.eos_token
    calls = []
    for (_, response), message in zip(turns, messages[1::2], strict=True):
        found = (
            template.extract_tool(response.removesuffix("\n").removesuffix(end))
            if message["role"] == "function"
            else ""
        )
        calls.append(None if isinstance(found, str) else [[name, json.loads(arguments)] for name, arguments in found])
    return {"turns": turns, "calls": calls}


def encode(row: dict, converter: SharegptDatasetConverter, template, tokenizer) -> int | str:
    """The number of prompt and response pairs, or what went wrong."""
    try:
        example = converter(row)
        messages = example["_prompt"] + example["_response"]
        return len(template.encode_multiturn(tokenizer, messages, example["_system"], example["_tools"]))
    except Exception as error:  # noqa: BLE001 - whatever it is, it would end the whole load
        return repr(error)


def main(source: str, target: str, mode: str = "render") -> None:
    work = encode if mode == "encode" else render
    rows_by_template = json.loads(Path(source).read_text(encoding="utf-8"))
    rendered = {}
    for name, rows in rows_by_template.items():
        arguments = DataArguments(template=name)
        tokenizer = byte_tokenizer()
        template = get_template_and_fix_tokenizer(tokenizer, arguments)
        converter = SharegptDatasetConverter(dataset_attr(), arguments)
        rendered[name] = [work(row, converter, template, tokenizer) for row in rows]
    Path(target).write_text(json.dumps(rendered), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
