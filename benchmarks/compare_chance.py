"""Chance or dependence: whether an answer depends on which other adapters are loaded; used by compare_load.py.

Two processes, so that an 80 GB GPU holds both. The first loads the adapters together, asks the first and the last of
them, the first again, and again in half batches; then it loads the base anew with the first adapter alone. The second
has the first adapter alone in a fresh process, and then, the base loaded anew, the last one alone. Every logit is kept:

- ``again``: the same adapter asked twice in one load;
- ``two_processes``: the first adapter alone, in one process and in the other: what chance gives;
- ``half_batch``: how far rounding alone moves logits, as another batch size does;
- ``beside``: an adapter beside the others against the same one alone: what is asked here;
- ``adapters_apart``: the first adapter against the last one, alone: that they do answer differently.

Logits are compared up to and with each answer's first differing token: until there both have read the same text.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("compare_answers.py")
_LAST_LINES = 4
_PROGRESS = re.compile(r"^ *[\d.]+ s ")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is put to the model: the engine's values and the questions.

    Attributes:
        model: the base's folder.
        template: the engine's name of it.
        tokens: at most so many in an answer.
        questions: the texts.
        adapters: their folders.
        environment: of the processes.
        limit_s: they are ended after so many seconds.
    """

    model: Path
    template: str
    tokens: int
    questions: Sequence[str]
    adapters: Sequence[Path]
    environment: Mapping[str, str]
    limit_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One asking of all questions: tokens of each answer, logits (steps, questions, vocabulary), digests of weights."""

    tokens: list[list[int]]
    logits: Any
    weights: int = 0
    base: int = 0


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The place of the first differing token; one answer may be the beginning of the other. None where they agree."""
    if list(one) == list(other):
        return None
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


def gap(logits: Any) -> float:
    """Between the two likeliest tokens."""
    second, first = np.partition(logits, -2)[-2:]
    return float(first - second)


def weigh(pairs: Sequence[tuple[Asked, Asked]]) -> dict[str, Any]:
    """Answers that differ and how far the logits are apart, over several pairs of the same questions."""
    total, largest, at = 0, 0.0, []
    for one, other in pairs:
        for row, (mine, theirs) in enumerate(zip(one.tokens, other.tokens, strict=True)):
            total += 1
            place = first_difference(mine, theirs)
            read = place + 1 if place is not None else min(len(mine) + 1, len(one.logits), len(other.logits))
            apart = np.abs(one.logits[:read, row] - other.logits[:read, row]).max(axis=-1)
            largest = max(largest, float(apart.max()))
            if place is not None:
                gaps = [round(gap(each.logits[place, row]), 5) for each in (one, other)]
                at.append({"token": place, "logit_difference": round(float(apart[place]), 5), "gaps": gaps})
    return {"answers": total, "differ": len(at), "max_logit_difference": round(largest, 6), "first_tokens": at}


def judge(parts: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The answer to the question in one sentence."""
    beside, chance, rounding = (parts.get(name) for name in ("beside", "two_processes", "half_batch"))
    if beside is None:
        return "not told: nothing to compare with"
    told = parts.get("adapters_apart")
    if told is not None and not told["max_logit_difference"]:
        return "not told: the adapters answer alike, to the last bit"
    apart = beside["max_logit_difference"]
    if apart == 0:
        return "independent: the same bits beside and alone"
    if chance is None:
        return "not told: the two runs of the same are missing"
    if apart <= 2 * chance["max_logit_difference"]:
        return "independent: no more than between two runs of the same"
    if rounding is not None and apart <= 2 * rounding["max_logit_difference"]:
        return "dependence, of the size of rounding: no more than another batch size gives"
    return "dependence"


def plan(adapters: Sequence[Path], batch: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Process → its loads; every ask leaves its results under its name in the folder."""
    first, last = str(adapters[0]), str(adapters[-1])

    def ask(name: str, adapter: str, size: int = batch) -> dict[str, Any]:
        return {"name": name, "adapter": adapter, "batch": size, "out": str(folder / name)}

    beside = [ask("first-beside", first), ask("last-beside", last)]
    more = [ask("first-again", first), ask("first-half", first, max(1, batch // 2))]
    return {
        "together": [
            {"adapters": list(map(str, adapters)), "asks": [*beside, *more]},
            {"adapters": [first], "asks": [ask("first-alone-later", first)]},
        ],
        "apart": [
            {"adapters": [first], "asks": [ask("first-alone", first)]},
            {"adapters": [last], "asks": [ask("last-alone", last)]},
        ],
    }


def measure(wish: Wish, folder: Path) -> dict[str, Any]:
    """Both processes, and what their logits say; what a failed or belated process has not left is named."""
    began_s = time.monotonic()
    planned = plan(wish.adapters, len(wish.questions), folder)
    failures = run_workers(wish, planned, folder)
    asks = [ask["name"] for loads in planned.values() for load in loads for ask in load["asks"]]
    found = {name: read(folder / name) for name in asks if (folder / f"{name}.json").is_file()}
    result = compare_asked(found)
    return {
        "verdict": judge(result),
        **result,
        "seconds": round(time.monotonic() - began_s, 1),
        "missing": [name for name in asks if name not in found],
        "failures": failures,
    }


def compare_asked(found: Mapping[str, Asked]) -> dict[str, Any]:
    """Each comparison that the askings which are there allow; None for the others."""
    pairs = {
        "again": [("first-beside", "first-again")],
        "two_processes": [("first-alone", "first-alone-later")],
        "half_batch": [("first-beside", "first-half")],
        "beside": [
            ("first-beside", "first-alone"), ("first-beside", "first-alone-later"), ("last-beside", "last-alone"),
        ],
        "adapters_apart": [("first-alone", "last-alone")],
    }  # fmt: skip
    result: dict[str, Any] = {}
    for name, wanted in pairs.items():
        there = [(found[one], found[other]) for one, other in wanted if one in found and other in found]
        result[name] = weigh(there) if there else None
    weights = [
        {asked.weights for name, asked in found.items() if name.startswith(which)} for which in ("first", "last")
    ]
    result["weights_same"] = (
        all(len(each) <= 1 for each in weights) and len({asked.base for asked in found.values()}) <= 1
    )
    gaps = [
        gap(step[row]) for asked in list(found.values())[:1] for step in asked.logits for row in range(step.shape[0])
    ]
    result["median_gap"] = round(float(np.median(gaps)), 5) if gaps else None
    return result


def read(place: Path) -> Asked:
    """What an ask has left."""
    found = json.loads(place.with_name(f"{place.name}.json").read_bytes())
    logits = np.load(place.with_name(f"{place.name}.npy"), mmap_mode="r")
    return Asked(found["tokens"], logits, found["weights"], found["base"])


def run_workers(wish: Wish, planned: Mapping[str, Sequence[Any]], folder: Path) -> dict[str, str]:
    """All at once, until they end or the time is over; process → why it failed, with its last lines."""
    deadline_s = time.monotonic() + wish.limit_s
    children: dict[str, subprocess.Popen[bytes]] = {}
    failures: dict[str, str] = {}
    with _ending_on_sigterm():
        try:
            for name, loads in planned.items():
                children[name] = _start(wish, name, loads, folder)
            for child in children.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline_s - time.monotonic()))
        except TimeoutError as error:
            failures["all"] = str(error)
        finally:
            for name, child in children.items():
                why = f"ended after {wish.limit_s:.0f} s" if child.poll() is None else f"exit code {child.returncode}"
                lines = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
                if child.poll() != 0:
                    failures[name] = "\n".join([why, *lines[-_LAST_LINES:]])
                sys.stderr.writelines(f"{name}: {line}\n" for line in lines if _PROGRESS.match(line))
                child.kill()
                child.wait()
    return failures


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM, as `timeout` sends it, ends the processes; what they left is still read."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise TimeoutError("SIGTERM came")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(wish: Wish, name: str, loads: Sequence[Any], folder: Path) -> subprocess.Popen[bytes]:
    job = {
        "workers": str(ROOT / "lfwrap" / "worker"), "model": str(wish.model), "template": wish.template,
        "tokens": wish.tokens, "questions": list(wish.questions), "loads": loads,
    }  # fmt: skip
    place = folder / f"{name}.job"
    place.write_text(json.dumps(job), encoding="utf-8")
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(WORKER), str(place)], env=dict(wish.environment), stdout=log, stderr=log
        )


def explain(texts: Mapping[str, Sequence[tuple[str, str]]], wish: Wish, folder: Path) -> dict[str, Any]:
    """Where answers of one load and of separate ones part, and whether the two likeliest tokens were level there.

    Args:
        texts: adapter's folder → (one load's text, the separate load's) of each question that got two.
        wish: what was asked.
        folder: for what the process leaves.

    Returns:
        ``rounding``, the logits' largest difference between two batch sizes; ``gaps`` of the two likeliest tokens at
        each first differing token; ``ties``, how many of them are within twice the rounding; ``failures``.
    """
    size = len(wish.questions)
    asks = [{"name": f"judge{n}", "adapter": each, "batch": size, "out": str(folder / f"judge{n}")}
            for n, each in enumerate(texts)]  # fmt: skip
    half = {**asks[0], "name": "judge-half", "batch": max(1, size // 2), "out": str(folder / "judge-half")}
    loads = [{"adapters": list(map(str, wish.adapters)), "asks": [*asks, half]}]
    failures = run_workers(wish, {"judge": loads}, folder)
    there = [(Path(ask["out"]), pairs) for ask, pairs in zip(asks, texts.values(), strict=True)]
    gaps = [gap for place, pairs in there if place.with_name(f"{place.name}.json").is_file()
            for gap in gaps_where_parted(place, pairs)]  # fmt: skip
    halves = [Path(asks[0]["out"]), Path(half["out"])]
    rounding = None
    if all(place.with_name(f"{place.name}.json").is_file() for place in halves):
        rounding = weigh([(read(halves[0]), read(halves[1]))])["max_logit_difference"]
    ties = sum(each <= 2 * rounding for each in gaps) if rounding is not None else None
    return {"rounding": rounding, "gaps": sorted(gaps), "ties": ties, "failures": failures}


def gaps_where_parted(place: Path, pairs: Sequence[tuple[str, str]]) -> Iterator[float]:
    """The gap at the first token after which the asking's own answer is not the beginning of the other text."""
    found, asked = json.loads(place.with_name(f"{place.name}.json").read_bytes()), read(place)
    for one, other in pairs:
        row = next((row for row, text in enumerate(found["texts"]) if text in (one, other)), None)
        if row is None:
            continue  # a third answer: nothing to compare with
        wanted = other if found["texts"][row] == one else one
        pieces = [piece.rstrip("\ufffd") for piece in found["pieces"][row]]
        parted = next((n for n, piece in enumerate(pieces) if not wanted.startswith(piece)), len(pieces) - 1)
        yield round(gap(asked.logits[parted, row]), 5)
