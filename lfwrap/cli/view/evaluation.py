"""An evaluation on the terminal: its tables, and the answers that were wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfwrap.cli.view import output

_SHOWN_CHARS = 600
_READINGS = {"calls": "calls in the template's format", "calls_in_any_format": "calls in any format"}
_CALL_COLUMNS = (
    ("cases", "cases"), ("Tool", "tool_accuracy"), ("Param", "param_accuracy"), ("AST", "ast_accuracy"),
)  # fmt: skip


def show_report(report: dict[str, Any], *, per_tool: bool) -> None:
    """The tables, on stdout."""
    models = report["models"]
    if any("loss" in model for model in models):
        _show_losses(models)
    for key, title in _READINGS.items():
        if any(key in model for model in models):
            _show_calls(models, key, title)
    if per_tool:
        _show_tools(models)
    if report.get("folder"):
        output.say(f"all figures and answers: {report['folder']}")


def _show_losses(models: Sequence[dict[str, Any]]) -> None:
    rows = [
        (model["name"], _number(model["loss"]["loss"]), _number(model["loss"]["perplexity"]),
         _number(model["loss"]["loss_of_rows"]), str(model["loss"]["rows"]), str(model["loss"]["supervised_tokens"]),
         str(model["loss"]["rows_cut"]))
        for model in models
    ]  # fmt: skip
    _table(("model", "loss", "perplexity", "loss of rows", "rows", "tokens", "cut"), rows)


def _show_calls(models: Sequence[dict[str, Any]], reading: str, title: str) -> None:
    found = [(model["name"], model[reading]) for model in models if reading in model]
    split = any(figures.get("unseen", {}).get("cases") for _, figures in found)
    heads = ["model", *(head for head, _ in _CALL_COLUMNS), "AST 95 %", "arguments"]
    rows = []
    for label, figures in found:
        row = [label, str(figures["cases"]), *(_share(figures[key]) for _, key in _CALL_COLUMNS[1:])]
        row += [_interval(figures["ast_interval"]), _share(figures["arguments"]["exact_match"])]
        row += [_of(figures["seen"]), _of(figures["unseen"])] if split else []
        rows.append(tuple(row))
    output.result(f"\n{title}")
    _table((*heads, *(("AST seen tools", "AST unseen tools") if split else ())), rows)
    output.result("")
    _show_faults(found)


def _show_faults(found: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """What is wrong with the answers, and how often a model made no call where none was expected."""
    silent = any(figures["no_call_cases"] for _, figures in found)
    heads = ("model", "parse failures", "no call", "missing", "extra", "not offered")
    rows = [
        (label, str(figures["parse_failures"]), str(figures["no_call"]),
         *(str(figures["calls"][key]) for key in ("missing", "extra", "hallucinated")),
         *((f"{_share(figures['no_call_accuracy'])} of {figures['no_call_cases']}",) if silent else ()))
        for label, figures in found
    ]  # fmt: skip
    _table((*heads, *(("rightly silent",) if silent else ())), rows)


def _show_tools(models: Sequence[dict[str, Any]]) -> None:
    """Exact calls of each tool, read in the template's format where that is known."""
    columns = [(model["name"], _first_reading(model).get("by_tool", {})) for model in models]
    names = sorted({name for _, tools in columns for name in tools})
    rows = [
        (name, *(f"{tools[name]['exact']}/{tools[name]['calls']}" if name in tools else "-" for _, tools in columns))
        for name in names
    ]
    output.result("\nexact calls of each tool")
    _table(("tool", *(label for label, _ in columns)), rows)


def _first_reading(model: dict[str, Any]) -> dict[str, Any]:
    return next((model[key] for key in _READINGS if key in model), {})


def show_failed(model: dict[str, Any], count: int) -> None:
    """The first wrong calls of a model, on stderr."""
    import orjson

    if not count or "judged_answers" not in model:
        return
    with Path(model["judged_answers"]).open("rb") as lines:
        wrong = [row for row in map(orjson.loads, lines) if not row["template"]["ast"]]
    output.say(f"\n{model['name']}: {len(wrong)} wrong, {min(count, len(wrong))} shown")
    for row in wrong[:count]:
        output.say(f"  case {row['case']} ({row['kind']}): {row['template']['error']}")
        output.say(f"    asked     {_short(row['question'])}")
        output.say(f"    expected  {_short(row['expected'])}")
        output.say(f"    answer    {_short(row['answer'])}")


def show_harness(report: dict[str, Any]) -> None:
    """Tasks and metrics as lines, models as columns."""
    models = report["models"]
    keys = dict.fromkeys(
        (task, metric) for each in models for task in each["results"] for metric in each["results"][task]
    )
    rows = [
        (task, metric, *(_number(each["results"].get(task, {}).get(metric)) for each in models))
        for task, metric in keys
    ]
    _table(("task", "metric", *(each["name"] for each in models)), rows)
    output.say(f"all results: {report['folder']}")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns of text; numbers stand on the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        cells = [cell.ljust(width) if number == 0 else cell.rjust(width)
                 for number, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        output.result("  ".join(cells).rstrip())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value >= 1000 else f"{value:.4f}"  # noqa: PLR2004


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{100 * value[0]:.0f}-{100 * value[1]:.0f}"


def _of(figures: dict[str, Any]) -> str:
    return f"{_share(figures['ast_accuracy'])} of {figures['cases']}" if figures["cases"] else "-"


def _short(value: Any) -> str:
    import orjson

    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} …"
