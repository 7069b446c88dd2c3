"""Which script a text is mostly written in: a cheap stand-in for its language, and said as such."""

from __future__ import annotations

import re

# A word of an alphabet weighs as much as one character of the scripts that write words with one or two of them.
_ALPHABETS = {
    "Latin": re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]+"),
    "Greek": re.compile(r"[Ͱ-Ͽ]+"),
    "Arabic": re.compile(r"[\u0600-\u06ff\u0750-\u077f]+"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]+"),
    "Devanagari": re.compile(r"[\u0900-\u097f]+"),
    "Hangul": re.compile(r"[\u1100-\u11ff\uac00-\ud7af]+"),
}
_CHARACTERS = {
    "Han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"),
    "Kana": re.compile(r"[\u3041-\u3096\u30a1-\u30fa]"),
    "Thai": re.compile(r"[\u0e01-\u0e2e]"),
}
_WEIGHED = {**_ALPHABETS, **_CHARACTERS}
_KANA_SHARE = 0.2

OTHER = "other"


def script_of(text: str) -> str:
    """The script with the most words (of alphabets) or characters (of Han, Kana and Thai): ``Latin``, ``Han``, ….

    Text with a fifth of Kana is ``Kana``, whatever Han it has besides: it is Japanese. ``other`` without any letter.
    """
    if text.isascii():
        return "Latin" if _ALPHABETS["Latin"].search(text) else OTHER
    weights = {name: len(pattern.findall(text)) for name, pattern in _WEIGHED.items()}
    main = max(weights, key=weights.__getitem__)
    if weights[main] == 0:
        return OTHER
    is_japanese = main == "Han" and weights["Kana"] >= _KANA_SHARE * weights["Han"]
    return "Kana" if is_japanese else main
