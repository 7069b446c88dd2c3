"""Write the bundled tool-call sets: data/mcp.jsonl, data/mcp_val.jsonl and data/mcp_new_tools.jsonl.

    python data/make_mcp/make.py               # into data/
    python data/make_mcp/make.py --out DIR     # elsewhere
    python data/make_mcp/make.py --check       # say whether data/ holds what would be written

One seed gives the same bytes on every machine. The tables beside this file hold schemas, values and phrasings.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from check import check
from check_tables import check_tables
from draws import Draws
from questions import ExhaustedError, Questions
from rows import Row, Rows
from tables import LANGUAGES, Tool, load_chat, load_servers

SEED = 20260
CHINESE_PERCENT = 30
_WHOLE = 100
# Rows of each kind in a hundred; chains and small talk come from their own lists.
SHARES = {
    "call": 42,
    "answered": 14,
    "joint": 8,
    "twice": 5,
    "again": 5,
    "chain": 5,
    "asked_back": 4,
    "asked_back_then_called": 4,
    "refused": 5,
    "retried": 2,
    "not_found": 1.5,
    "moved": 1.5,
    "chat": 3,
}
SIZES = {"mcp": 2640, "mcp_val": 220, "mcp_new_tools": 180}


def make_sets(seed: int = SEED) -> dict[str, list[Row]]:
    """Name of a set → its rows. No skeleton of a question stands in two rows, of whichever sets.

    The held-out servers' tools are asked for in ``mcp_new_tools`` alone, and offered there alone.
    """
    draws = Draws(seed)
    known, new = load_servers("servers"), load_servers("new_servers")
    questions = Questions([*known, *new], draws)
    check_tables([*known, *new], questions.values)
    chat = {language: draws.shuffled(rows) for language, rows in load_chat().items()}
    trained = Rows(known, known, questions, draws)
    unseen = Rows(new, [*new, *known], questions, draws)
    makers = {"mcp_new_tools": unseen, "mcp_val": trained, "mcp": trained}
    sets = {name: draws.shuffled(list(_rows(maker, SIZES[name], chat, draws))) for name, maker in makers.items()}
    for rows in sets.values():
        check(rows)
    return {name: sets[name] for name in SIZES}


def _rows(maker: Rows, size: int, chat: dict[str, list[tuple[str, str]]], draws: Draws) -> Iterator[Row]:
    counts = {kind: round(size * share / 100) for kind, share in SHARES.items()}
    counts["call"] += size - sum(counts.values())
    for kind, count in counts.items():
        turn = _Turns(maker.tools, draws)
        for number in range(count):
            language = "zh" if _passes_a_whole(number * CHINESE_PERCENT) else "en"
            if kind == "chat":
                language = language if chat[language] else next(name for name in LANGUAGES if chat[name])
                yield maker.chat(*chat[language].pop(), language)
            elif kind == "chain":
                yield _first_that_works(maker, draws, language)
            else:
                yield turn.row(maker, kind, language)


def _passes_a_whole(percent: int) -> bool:
    """True for one row each time that the rows' shares, row by row, add up to another 100 percent."""
    return percent % _WHOLE + CHINESE_PERCENT >= _WHOLE


class _Turns:
    """The tools one after another in shuffled rounds, so that each gets as many rows as the others."""

    def __init__(self, tools: Sequence[Tool], draws: Draws) -> None:
        self._tools = tools
        self._draws = draws
        self._left: dict[str, list[Tool]] = {language: [] for language in LANGUAGES}

    def row(self, maker: Rows, kind: str, language: str) -> Row:
        for _ in range(10 * len(self._tools)):
            self._left[language] = self._left[language] or self._draws.shuffled(self._tools)
            try:
                return maker.kinds[kind](self._left[language].pop(), language)
            except ExhaustedError:
                continue
        raise ExhaustedError(f"{kind}, {language}: write more phrasings")


def _first_that_works(maker: Rows, draws: Draws, language: str) -> Row:
    for chain in draws.shuffled(maker.chains):
        try:
            return maker.chain(chain, language)
        except ExhaustedError:
            continue
    raise ExhaustedError(f"chain, {language}: write more phrasings")


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1], help="folder for the files")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is another one")
    options = parser.parse_args()
    differ = []
    try:
        sets = make_sets(options.seed)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name, rows in sets.items():
        path, content = options.out / f"{name}.jsonl", "".join(row.line() for row in rows).encode()
        kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(row.kind for row in rows).items())
        print(f"{path}: {len(rows)} rows, {len(content)} bytes: {kinds}")
        if not options.check:
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            differ.append(str(path))
    if differ:
        print(f"not what the tables give: {', '.join(differ)}", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
