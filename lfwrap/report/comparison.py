"""A comparison as HTML, Markdown and CSV; takes what stands in ``report.json``."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lfwrap import __version__
from lfwrap.bundled import bundled_path
from lfwrap.units import format_duration

if TYPE_CHECKING:
    from jinja2 import Environment

Report = Mapping[str, Any]
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# title → (key below the summary, digits, which is best)
_FIGURES: tuple[tuple[str, tuple[str, ...], int, str], ...] = (
    ("chrF", ("scores", "chrf"), 1, "max"),
    ("ROUGE-L", ("scores", "rougeL"), 1, "max"),
    ("tokens, mean", ("mean_answer_tokens",), 1, ""),
    ("cut at limit", ("cut_at_limit",), 0, ""),
    ("tokens/s", ("tokens_per_s",), 1, ""),
)


def render_html(report: Report) -> str:
    """The page: one file, nothing loaded from anywhere, everything in it escaped."""
    style, script = (bundled_path(f"templates/compare.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    table = summary_table(report)
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            report=report,
            how=describe_settings(report["settings"]),
            columns=[{"title": title} for title in table[0][1:]],
            targets=list(_html_targets(report, table)),
            rows=[_html_row(report, row) for row in report["rows"]],
            orders=list(_orders(report)),
            mark_sources=list(_mark_sources(report)),
            style=style,
            script=script,
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            version=__version__,
        )
    )


def render_markdown(report: Report) -> str:
    """The table, then each question with all answers."""
    header, *lines = summary_table(report)
    parts = [
        f"# {' · '.join(target['name'] for target in report['targets'])}",
        f"{report['source']}: {report['questions']} questions, {describe_settings(report['settings'])}.",
        "\n".join([_table_line(header), _table_line(["---"] * len(header)), *map(_table_line, lines)]),
    ]
    for row in report["rows"]:
        parts.append(f"## {row['id'] + 1}")
        parts.append(fenced(row["question"]))
        if row["reference"] is not None:
            parts += ["**reference**", fenced(row["reference"])]
        for name, answer in row["answers"].items():
            badges = [badge["text"] for badge in _badges(report, name, answer)]
            badges += [f"calls {call['name']}" for call in answer["calls"]]
            parts += [f"**{name}** · {' · '.join([_figures(answer), *badges])}", fenced(answer["text"])]
    return "\n\n".join(parts) + "\n"


def render_csv(report: Report) -> str:
    """One line a question. Texts that a spreadsheet would run as a formula get an apostrophe in front."""
    names = [target["name"] for target in report["targets"]]
    fields = ("answer", "tokens", "seconds", "finish", "chrf", "rouge1", "rouge2", "rougeL", "missing", "verdict")
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(["id", "question", "reference", *(f"{name}: {field}" for name in names for field in fields)])
    for row in report["rows"]:
        cells: list[Any] = [row["id"] + 1, row["question"], row["reference"] or ""]
        for name in names:
            answer = row["answers"][name]
            scores, verdict = answer["scores"] or {}, answer["verdict"] or {}
            cells += [answer["text"], answer["answer_tokens"], answer["seconds"], answer["finish"]]
            cells += [scores.get(kind, "") for kind in ("chrf", "rouge1", "rouge2", "rougeL")]
            cells += ["; ".join(answer["missing_keywords"] or ()), verdict.get("winner", "")]
        writer.writerow([_harmless(cell) for cell in cells])
    return sink.getvalue()


def summary_table(report: Report) -> list[list[str]]:
    """The figures of each candidate as text, a header first; columns that nobody has a value in are left out."""
    shown = [
        figure for figure in _FIGURES if any(_value(target, figure[1]) is not None for target in report["targets"])
    ]
    has_keywords = any(target["summary"]["keywords"]["checked"] for target in report["targets"])
    judged = any(target["summary"]["verdicts"] for target in report["targets"])
    header = ["who", *(title for title, *_ in shown), "time", f"same as {report['baseline']}"]
    header += ["keywords"] * has_keywords + ["wins/ties/losses"] * judged
    lines = [header]
    for target in report["targets"]:
        summary = target["summary"]
        line = [target["name"], *(_number(_value(target, path), digits) for _, path, digits, _ in shown)]
        line += [_duration(summary["seconds"]), f"{summary['same_as_baseline']}/{report['questions']}"]
        if has_keywords:
            line.append(f"{summary['keywords']['passed']}/{summary['keywords']['checked']}")
        if judged:
            line.append(_verdicts(summary["verdicts"]))
        lines.append(line)
    return lines


def describe_settings(settings: Mapping[str, Any]) -> str:
    """``greedy, up to 256 tokens``."""
    if settings["temperature"] <= 0:
        how = "greedy"
    else:
        how = f"temperature {settings['temperature']:g}, top-p {settings['top_p']:g}"
        how += f", top-k {settings['top_k']}" if settings["top_k"] else ""
        how += f", seed {settings['seed']}"
    return f"{how}, up to {settings['max_new_tokens']} tokens"


def fenced(text: str) -> str:
    """A block of Markdown that no text can end before its end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(bundled_path("templates")),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _html_targets(report: Report, table: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    header, *lines = table
    best = {
        title: max(values)
        for title, path, _, which in _FIGURES
        if which
        and title in header
        and len(values := {value for target in report["targets"] if (value := _value(target, path)) is not None}) > 1
    }
    paths = {title: path for title, path, *_ in _FIGURES}
    for target, line in zip(report["targets"], lines, strict=True):
        cells = [
            {"title": title, "text": text, "best": title in best and _value(target, paths[title]) == best[title]}
            for title, text in zip(header[1:], line[1:], strict=True)
        ]
        yield {"name": target["name"], "about": _about(target), "cells": cells}


def _about(target: Mapping[str, Any]) -> str:
    """Where it comes from: the adapter or model, the template, where it ran."""
    parts = [target["adapter"] or target["base_model"], f"template {target['template']}"]
    if target.get("dtype"):
        parts.append(f"{target['dtype']} on {target['device']}")
    if target["quantization"]:
        parts.append(f"{target['quantization'].get('quantization_bit')} bit")
    return " · ".join(parts)


def _html_row(report: Report, row: Mapping[str, Any]) -> dict[str, Any]:
    cells = [
        {
            "name": name,
            "figures": _figures(answer),
            "text": answer["text"],
            "calls": [{**call, "arguments": _indented(call["arguments"])} for call in answer["calls"]],
            "badges": _badges(report, name, answer),
        }
        for name, answer in row["answers"].items()
    ]
    answers = list(row["answers"].values())
    chrf = {f"chrf{number}": answer["scores"]["chrf"] for number, answer in enumerate(answers) if answer["scores"]}
    longest = max(answer["answer_tokens"] for answer in answers)
    spread = {"spread": round(max(chrf.values()) - min(chrf.values()), 2)} if chrf else {}
    return {**row, "cells": cells, "sort": {"longest": longest, **spread, **chrf}}


def _indented(arguments: Any) -> str:
    return json.dumps(arguments, ensure_ascii=False, indent=2)


def _mark_sources(report: Report) -> Iterator[tuple[str, str]]:
    """What the answers can be held against, the likeliest first."""
    if any(row["reference"] is not None for row in report["rows"]):
        yield "reference", "reference"
    if len(report["targets"]) > 1:
        yield from ((str(number), target["name"]) for number, target in enumerate(report["targets"]))


def _orders(report: Report) -> Iterator[tuple[str, str]]:
    yield "place:up", "in the file's order"
    if any(target["summary"]["scores"] for target in report["targets"]):
        yield "spread:down", "answers furthest apart first"
        for number, target in enumerate(report["targets"]):
            yield f"chrf{number}:up", f"lowest chrF of {target['name']} first"
            yield f"chrf{number}:down", f"highest chrF of {target['name']} first"
    yield "longest:down", "longest answers first"


def _figures(answer: Mapping[str, Any]) -> str:
    parts = [f"{answer['answer_tokens']} tokens", f"{answer['seconds']:.1f} s"]
    if answer["scores"]:
        parts += [f"chrF {answer['scores']['chrf']:.0f}", f"ROUGE-L {answer['scores']['rougeL']:.0f}"]
    return " · ".join(parts)


def _badges(report: Report, name: str, answer: Mapping[str, Any]) -> list[dict[str, str]]:
    badges = []
    if answer["finish"] == "length":
        badges.append({"kind": "warn", "text": "cut at the limit", "title": ""})
    if answer["missing_keywords"]:
        badges += [{"kind": "bad", "text": f"lacks “{word}”", "title": ""} for word in answer["missing_keywords"]]
    elif answer["missing_keywords"] is not None:
        badges.append({"kind": "good", "text": "all keywords", "title": ""})
    verdict = answer["verdict"]
    if verdict and name != report["baseline"]:
        badges.append(_verdict_badge(verdict, report["baseline"]))
    return badges


def _verdict_badge(verdict: Mapping[str, Any], baseline: str) -> dict[str, str]:
    kind, text = {
        "second": ("good", f"better than {baseline}"),
        "first": ("bad", f"worse than {baseline}"),
        "tie": ("", f"no better than {baseline}"),
        "unclear": ("warn", "the judge gave no verdict"),
    }[verdict["winner"]]
    if verdict["winner"] == "tie" and not verdict["is_consistent"]:
        text = "the judge's verdict depends on the order"
    return {"kind": kind, "text": text, "title": " / ".join(reason for reason in verdict["reasons"] if reason)}


def _value(target: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = target["summary"]
    for key in path:
        value = value.get(key) if value else None
    return value


def _number(value: Any, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 1 else f"{seconds:.2f} s"


def _verdicts(verdicts: Mapping[str, int] | None) -> str:
    return f"{verdicts['wins']}/{verdicts['ties']}/{verdicts['losses']}" if verdicts else "–"


def _table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
