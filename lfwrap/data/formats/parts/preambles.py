"""System texts that declare tools: what only explains the calls is left out, what the author added is kept."""

from __future__ import annotations

import re

from lfwrap.data.formats.base import RowNotes

# How sentences begin that published sets put around their lists of functions. The template declares the tools and
# asks for calls in its own way, and these sentences would contradict it.
_OPENINGS = (
    "you are an expert in composing functions",
    "you are given a question and a set of possible functions",
    "based on the question, you will need to make",
    "if none of the function",
    "if the given question lacks the parameters",
    "you should only return the function call",
    "you should return the function call",
    "here is a list of functions in json format",
    "here is a list of functions that you can invoke",
    "the functions in json format",
    "should you decide to return the function call",
    "if you decide to invoke any of the function",
    "put it in the format of",
    "you must put it in the format of",
    "no other text must be included",
    "you should not include any other text",
    "you are a helpful assistant with access to the following functions",
    "use them if required",
)
_SENTENCE = re.compile(r"[^.!?。！？\n]*(?:\.(?!\s|$)[^.!?。！？\n]*)*[.!?。！？]*\s*|\n\s*")
_SPARE = " \t\r\n.-:…"


def without_preamble(before: str, after: str, notes: RowNotes) -> str:
    """What a system text says besides declaring tools and how to call them.

    Args:
        before: the text before the list of tools.
        after: the text after it.
        notes: counts that something was kept.

    >>> before = "Here is a list of functions in JSON format that you can invoke:"
    >>> without_preamble(before, ". Always answer in French.", RowNotes())
    'Always answer in French.'
    """
    kept = "\n".join(said for text in (before, after) if (said := _own_words(text)))
    notes.repair("tools-from-system")
    if kept:
        notes.repair("system-kept-beside-tools")
    return kept


def _own_words(text: str) -> str:
    sentences = _SENTENCE.findall(text)
    own = [sentence for sentence in sentences if sentence.strip(_SPARE) and not _is_known(sentence)]
    return "".join(own).strip() if own else ""


def _is_known(sentence: str) -> bool:
    return sentence.strip(_SPARE).lower().startswith(_OPENINGS)
