"""How likely bytes are as text of an encoding: what they would read, weighed by the characters that languages use.

For every encoding that is tried, the text around bytes beyond ASCII is decoded strictly and its cost summed in bits:
few for a frequent character of the encoding's languages, many for a rare one, more for what no one writes: a symbol or
a capital within a word, letters of two scripts in one word, a Chinese character alone between Latin letters, control
characters. Readings of the same text are one reading. This is a model of single characters and no more; a detector with
models of whole languages has the other voice (`lfwrap.data.readers.encodings.encoding`).
"""

from __future__ import annotations

import codecs
import functools
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lfwrap.data.readers.encodings.byte_sample import LONGEST_WINDOW
from lfwrap.data.readers.encodings.frequent_characters import HANGUL, HANS, HANT, KANJI, LETTERS

_WESTERN = ("de", "fr", "es", "pt", "it", "nordic", "en")
_CENTRAL = ("pl", "cs", "hu", "ro", "hr", "de")
_CYRILLIC = ("ru", "uk", "sr")
# Encoding → its languages, and how much rarer than the most usual it is, in bits.
CANDIDATES: dict[str, tuple[tuple[str, ...], float]] = {
    "gb18030": (("zh-Hans", "zh-Hant"), -3.0),
    "cp1252": (_WESTERN, 1.0),
    "cp950": (("zh-Hant",), 2.0),
    "big5hkscs": (("zh-Hant",), 5.0),
    "cp932": (("ja",), 2.0),
    "euc_jp": (("ja",), 3.0),
    "cp949": (("ko",), 2.0),
    "cp1251": (_CYRILLIC, 2.0),
    "koi8-r": (("ru",), 8.0),
    "koi8-u": (("uk",), 9.0),
    "cp866": (("ru",), 5.0),
    "iso8859-5": (_CYRILLIC, 6.0),
    "mac-cyrillic": (_CYRILLIC, 10.0),
    "cp1250": (_CENTRAL, 3.0),
    "iso8859-2": (_CENTRAL, 4.0),
    "iso8859-15": (_WESTERN, 4.0),
    "mac-roman": (_WESTERN, 5.0),
    "cp850": (_WESTERN, 6.0),
    "cp437": (_WESTERN, 7.0),
    "cp852": (_CENTRAL, 7.0),
    "mac-latin2": (_CENTRAL, 11.0),
    "cp1254": (("tr",), 4.0),
    "cp1257": (("baltic",), 9.0),
    "cp1258": (("vi",), 6.0),
    "cp1253": (("el",), 8.0),
    "iso8859-7": (("el",), 9.0),
    "cp1255": (("he",), 8.0),
    "cp1256": (("ar",), 8.0),
    "cp874": (("th",), 8.0),
}
_ANY = (tuple(dict.fromkeys(name for names, _ in CANDIDATES.values() for name in names)), 5.0)
_ASCII_BITS = 4.5
_LONGEST_TEXT = 4096
_IMPOSSIBLE_BITS = 30.0
_TWO_BYTES = 2
_CAPITAL_BITS = 2.0
_RAREST_ACCENT_BITS = 4.75
_FREQUENT = frozenset("оеаинтсрвлкмдпу" + "יוהלאמתרשנב" + "αοιετσνηυρπκ")
_RARE = frozenset("щъфэ")  # in cp1251 where Hebrew has its most frequent letters
_JOINTS = frozenset("’'·-­‐")
_USUAL = frozenset("“”‘’–—…€°«»¿¡·•©®™§²³ªº½¼¾×£„‚№")
_PUNCTUATION = frozenset("“”‘’–—…")
_ALONE = frozenset("àèéóáíêåäöøůаеиоуяскв")
_HEBREW_FINALS = frozenset("ךםןףץ")
_OPENING = frozenset("“‘„‚«¿¡")
_CJK_USUAL = frozenset("，。？！、；：“”‘’（）《》〈〉「」『』【】—…·・ー～　〜‥")
_CJK_ONLY = _CJK_USUAL - _USUAL
_Bits = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file would say in one encoding, or in several that agree on it.

    Attributes:
        encodings: these encodings, the most usual first.
        text: what the looked-at parts of the file say.
        bits: how unlikely that is.
        oddness_bits: how unlikely each character beyond ASCII is, on average.
    """

    encodings: tuple[str, ...]
    text: str
    bits: float
    oddness_bits: float


def readings(windows: Sequence[bytes], also: str = "") -> list[Reading]:
    """The readings of parts of a file, the most likely first.

    Args:
        windows: bytes around those beyond ASCII.
        also: an encoding that is none of those tried.

    >>> readings(["Grüße aus Köln".encode("cp1252")])[0].encodings[0]
    'cp1252'
    """
    texts: dict[str, list[str]] = {}
    for encoding in (*CANDIDATES, *([also] if also and also not in CANDIDATES else [])):
        texts.setdefault(read_as(windows, encoding), []).append(encoding)
    found = [_reading(text, names) for text, names in texts.items()]
    return sorted(found, key=lambda reading: reading.bits)


def read_as(windows: Sequence[bytes], encoding: str) -> str:
    r"""The text of parts of a file, with U+FFFD in place of what is none in this encoding.

    >>> read_as([b"a", "猫咪".encode("gb18030")], "gb18030"), read_as([b"\xff"], "gb18030")
    ('a\n猫咪', '\ufffd')
    """
    texts = []
    for window in windows:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        texts.append(decoder.decode(window, len(window) < LONGEST_WINDOW))
    return "\n".join(texts)


def _reading(text: str, names: list[str]) -> Reading:
    counts = Counter(letter for letter in text if not letter.isascii())
    letters = counts.total() or 1
    ascii_bits = _ASCII_BITS * (len(text) - counts.total())
    costs = []
    for name in names:
        languages, rarity_bits = CANDIDATES.get(name, _ANY)
        costs.append((rarity_bits + cost(text, languages), rarity_bits, name))
    bits, rarity_bits, _ = min(costs)
    ordered = [name for _, _, name in sorted(costs)]
    return Reading(tuple(ordered), text, ascii_bits + bits, (bits - rarity_bits) / letters)


def oddness_bits(text: str) -> float:
    """How unlikely each character beyond ASCII is, on average, in the language that fits the text's beginning best.

    >>> oddness_bits("为什么天空是蓝色的") < 13 < oddness_bits("敷敬敮敦敲")
    True
    """
    text = text[:_LONGEST_TEXT]
    return _reading(text, [""]).oddness_bits


def cost(text: str, languages: Iterable[str]) -> float:
    """How unlikely the characters beyond ASCII are in the most fitting of some languages, in bits.

    >>> cost("Müller", ["de"]) < cost("M黮ler", ["zh-Hans"])
    True
    """
    context = 0.0
    padded = f" {text} "
    counts: Counter[str] = Counter()
    for place, letter in enumerate(text, 1):
        if not letter.isascii():
            counts[letter] += 1
            context += _context_bits(padded[place - 1], letter, padded[place + 1])
    return context + min(
        sum(_bits(language)(letter) * count for letter, count in counts.items()) for language in languages
    )


@functools.lru_cache(1 << 16)
def _context_bits(before: str, letter: str, after: str) -> float:
    """What a character costs because of its neighbours."""
    script = _script(letter)
    around = [_script(other) for other in (before, after) if other.isalpha()]
    if script == "symbol":
        return _symbol_bits(before, letter, after, inside=len(around) > 1 and not _CJK.intersection(around))
    if script == "han":
        return (0.0, 1.5, 9.0)[around.count("latin")] + 10.0 * sum(other in _ALPHABETS for other in around)
    if script in _CJK:
        mixed = {"kana": {"hangul"}, "hangul": {"kana", "han"}}[script]
        return 3.0 * sum(other not in _CJK for other in around) + 6.0 * sum(other in mixed for other in around)
    if script in _ALPHABETS or script == "latin":
        return 9.0 * sum(other != script for other in around) + _letter_bits(before, letter, after)
    return 0.0


def _letter_bits(before: str, letter: str, after: str) -> float:
    bits = 8.0 if letter.isupper() and before.islower() else 0.0
    if not (before.isalpha() or after.isalpha() or letter in _ALONE):
        bits += 3.0
    if letter in _HEBREW_FINALS and after.isalpha():
        bits += 6.0
    if before.isalpha() and not before.isascii() and _script(letter) == "latin":
        bits += 2.0
    return bits


def _symbol_bits(before: str, letter: str, after: str, *, inside: bool) -> float:
    bits = 9.0 if inside and letter not in _JOINTS else 0.0
    if letter in _OPENING and (after.isspace() or (before.isalpha() and _script(before) not in _CJK)):
        bits += 5.0
    if after.islower() and not before.isalnum() and letter not in _OPENING and letter not in _JOINTS:
        bits += 5.0
    if letter in _CJK_ONLY and before.isascii() and after.isascii():
        bits += 6.0
    return bits


_ALPHABETS = frozenset({"cyrillic", "greek", "hebrew", "arabic", "thai", "other"})
_CJK = frozenset({"han", "kana", "hangul"})
_RANGES = (
    (0x0300, "latin"),
    (0x0370, "symbol"),
    (0x0400, "greek"),
    (0x0530, "cyrillic"),
    (0x0590, "other"),
    (0x0600, "hebrew"),
    (0x0780, "arabic"),
    (0x0E00, "other"),
    (0x0E80, "thai"),
    (0x1E00, "other"),
    (0x1F00, "latin"),
    (0x2000, "greek"),
    (0x3041, "other"),
    (0x3100, "kana"),
    (0x3400, "other"),
    (0xA000, "han"),
    (0xAC00, "other"),
    (0xD7A4, "hangul"),
    (0xF900, "other"),
    (0xFB00, "han"),
    (0xFF66, "other"),
    (0xFFA0, "halfwidth"),
    (0x20000, "other"),
    (0x40000, "han"),
)


@functools.lru_cache(1 << 15)
def _script(letter: str) -> str:
    """The script of a letter, or ``symbol`` for what is none."""
    if letter in "ªº" or not (letter.isalpha() or unicodedata.combining(letter)):
        return "symbol"
    return next((name for end, name in _RANGES if ord(letter) < end), "other")


@functools.cache
def _bits(language: str) -> _Bits:
    """A function that says how unlikely a character beyond ASCII is in a language."""
    if language in _CJK_BITS:
        return functools.lru_cache(1 << 14)(_CJK_BITS[language])
    letters = LETTERS[language]
    script = _script(letters[0])
    if script == "latin":
        known = {letter: min(2.5 + place / 4, _RAREST_ACCENT_BITS) for place, letter in enumerate(letters)}
    else:
        known = dict.fromkeys(letters, math.log2(len(letters)))
    known |= {letter: known[letter] - 0.8 for letter in _FREQUENT if letter in known}
    known |= {letter: known[letter] + 2.0 for letter in _RARE if letter in known}
    known |= {
        upper: known[letter] + _CAPITAL_BITS
        for letter in letters
        if len(upper := letter.upper()) == 1 and upper != letter
    }

    @functools.lru_cache(1 << 12)
    def bits(letter: str) -> float:
        return known.get(letter) or (11.0 if _script(letter) == script else _other_bits(letter))

    return bits


def _other_bits(letter: str) -> float:
    """The bits of a character that is no letter of the language."""
    if letter in _USUAL:
        return 5.0 if letter in _PUNCTUATION else 7.0
    category = unicodedata.category(letter)
    if letter == "�" or category in {"Cc", "Cn", "Co", "Cs"}:
        return _IMPOSSIBLE_BITS
    if letter in "\xa0\xad":
        return 9.0
    if _script(letter) == "symbol":
        return 15.0 if "─" <= letter <= "▟" else 13.0
    return 17.0


def _of_cjk(letter: str) -> float:
    return 5.5 if letter in _CJK_USUAL else _other_bits(letter) + 1.0


def _hanzi_bits(letter: str, frequent: frozenset[str], codec: str, level_two: int) -> float:
    """The bits of a character by how far up in the national standard it stands."""
    if letter in frequent:
        return 10.5
    code = letter.encode(codec, "ignore")
    if len(code) != _TWO_BYTES:
        return 22.5
    return 14.5 if code[0] < level_two else 18.0


def _simplified(letter: str) -> float:
    script = _script(letter)
    if script == "han":
        return _hanzi_bits(letter, HANS, "gb2312", 0xD8)
    return 13.0 if script == "kana" else _of_cjk(letter)


def _traditional(letter: str) -> float:
    script = _script(letter)
    if script == "han":
        return _hanzi_bits(letter, HANT, "big5", 0xC9)
    return 13.0 if script == "kana" else _of_cjk(letter)


def _japanese(letter: str) -> float:
    script = _script(letter)
    if script == "kana":
        return 7.0 if letter < "゠" else 9.0
    if script == "han":
        return _hanzi_bits(letter, KANJI, "euc_jp", 0xD0) + 1.0
    return 12.0 if script == "halfwidth" else _of_cjk(letter)


def _korean(letter: str) -> float:
    script = _script(letter)
    if script == "hangul":
        return 9.0 if letter in HANGUL else 13.5 if letter.encode("euc_kr", "ignore") else 21.0
    return 16.0 if script == "han" else 15.0 if script == "kana" else _of_cjk(letter)


_CJK_BITS: dict[str, _Bits] = {
    "zh-Hans": _simplified,
    "zh-Hant": _traditional,
    "ja": _japanese,
    "ko": _korean,
}
