"""The Hugging Face hub as its own client sees it: its address, a token's variables, the form of a name."""

from __future__ import annotations

import re

DEFAULT_ENDPOINT = "https://huggingface.co"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/\w[\w.-]*$")


def has_hub_form(name: str) -> bool:
    """Whether a name could be a hub id, ``OWNER/NAME``; a folder's relative path may look the same.

    >>> has_hub_form("Qwen/Qwen2.5-7B-Instruct"), has_hub_form("models/law/v2"), has_hub_form("./law")
    (True, False, False)
    """
    return _ID.match(name) is not None
