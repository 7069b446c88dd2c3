"""The rules that rows are checked against: a stable name, its severity, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.errors import Severity

DOCS_PAGE = "docs/reference/data-rules.md"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for rows of data.

    Attributes:
        name: its name in reports, rejects and counts.
        severity: an error rejects the row, a warning does not.
        summary: what is wrong with a row that breaks it.
        hint: what to do.
    """

    name: str
    severity: Severity
    summary: str
    hint: str

    @property
    def anchor(self) -> str:
        """Where the documentation explains it."""
        return f"{DOCS_PAGE}#{self.name}"


def _error(name: str, summary: str, hint: str) -> Rule:
    return Rule(name, Severity.ERROR, summary, hint)


def _warning(name: str, summary: str, hint: str) -> Rule:
    return Rule(name, Severity.WARNING, summary, hint)


_RULES = (
    # The row itself
    _error("not-an-object", "The row is not an object with named fields.", "Write one JSON object for each row."),
    _error("not-json", "The row is not JSON.", "Repair it at the place that the message names."),
    _error("field-count", "The row has more or fewer fields than the header.", "Quote cells that hold the delimiter."),
    _error("repeated-header", "The row says again what the header says.", "Remove it; nothing is lost without it."),
    _error(
        "formula-without-result",
        "A cell is a formula whose result the workbook does not store.",
        "Open and save the workbook in a spreadsheet program, or export it as CSV.",
    ),
    _error(
        "truncated-cells",
        "The row comes from a data viewer that cut its texts.",
        "Download the data set itself (its Parquet or JSON files) instead of the viewer's answer.",
    ),
    _error(
        "text-after-quote",
        "Text stands after a cell's closing quote, so that readers differ in what the cell says.",
        "Double the quotes inside of a quoted cell.",
    ),
    _error(
        "escaped-quote",
        "A cell without quotes around it holds a quote with a backslash before it.",
        "Tell the program that wrote the table to double quotes, instead of escaping them by a backslash.",
    ),
    _error(
        "space-before-quote",
        "A blank stands before a cell's opening quote, so that the quotes count as text.",
        "Remove the blanks after delimiters; where all cells have one, it is left out.",
    ),
    _error("unclosed-quote", "A quoted cell is never closed.", "Close the quote; quotes inside of a cell are doubled."),
    _error(
        "conversion-failed",
        "lfwrap itself failed on the row: a bug of lfwrap.",
        "Please report it with the reason and such a row; all other rows are dealt with as ever.",
    ),
    _error(
        "structure",
        "The row lacks what its format needs.",
        "Compare it with the format's example: `lfwrap data formats`.",
    ),
    _error(
        "columns",
        "Two columns could be the same field, or one is missing.",
        "Say which is which with `--map FIELD=COLUMN`.",
    ),
    _error(
        "duplicate-key",
        "A key appears twice in one object, so one of its values would be lost.",
        "Keep one of the two.",
    ),
    _error(
        "lone-surrogate",
        "A text holds half of a character (a lone surrogate): not valid UTF-8.",
        "Repair the program that cut the text.",
    ),
    _error(
        "zero-byte",
        "A text holds a zero byte (NUL): the file is damaged, or a program put it there by mistake.",
        "Remove it at its source; where a whole file reads like that, name its encoding: `--encoding utf-16-le`.",
    ),
    _error(
        "escape-sequence",
        "A text holds an escape sequence of ISO-2022: it stands for characters that were not decoded.",
        "Name the file's encoding, for example `--encoding iso-2022-jp`.",
    ),
    _error(
        "not-text",
        "A field that should hold text holds an object or a list.",
        "Write text, or pick another column with `--map`.",
    ),
    _error(
        "media",
        "A turn, or a column such as `images` or `audio`, holds an image, sound or another part that is not text.",
        "Leave such rows out: only text is trained here. Where a column names it, the text alone is trained with "
        "`--ignore images`.",
    ),
    _error(
        "bad-history", "The history is not a list of [question, answer] pairs.", 'Write `[["question", "answer"], …]`.'
    ),
    # What the source says about the training
    _error(
        "labelled-bad",
        "A label (`label`, `kto_tag` …) says that the answer is a bad one.",
        "Nothing to do: a bad answer is not learnt. To learn it all the same: `--ignore label`.",
    ),
    _error(
        "cut-answer",
        "The source says that the answer was cut off (`finish_reason: length`, `stop_reason: max_tokens`,"
        " `status: incomplete` …): it would teach to stop in the middle.",
        "Nothing to do, or let the model answer again. To learn it all the same: `--ignore finish_reason`.",
    ),
    _error(
        "preference",
        "The row holds a better and a worse answer (`chosen`, `rejected` …): preference data, not an answer to learn.",
        "To learn the better answers: `--map output=chosen --ignore rejected`.",
    ),
    _error(
        "masked-turn",
        "A turn says that it is not to be trained (`weight: 0`, `loss: false`, `train: false` …), or one of the user's"
        " that it is; the engine trains all of the assistant's turns and none of the user's.",
        "Cut the row at that turn, or train it all the same: `--ignore weight`.",
    ),
    _error(
        "weighted-row",
        "The row has a weight of its own, which the engine has no place for, or says that it is not in use"
        " (`enabled: false`, `deleted: true` …).",
        "Leave rows of weight 0 and those out of use out, or train all alike: `--ignore weight`.",
    ),
    _error(
        "second-conversation",
        "A second list of turns stands beside the one that was read.",
        "Say which one may be left out: `--ignore FIELD`.",
    ),
    _error(
        "second-answer",
        "A field such as `response` or `answer` stands beside the turns and says something else than they do.",
        "Put it into the turns, or say that it may be left out: `--ignore FIELD`.",
    ),
    _error(
        "held-out",
        "A field such as `split` says that the row is for validation or tests.",
        "Use such rows with `--test FILE`, or as a set of their own: `--ignore split --name NAME_val`.",
    ),
    _error(
        "channel",
        "A message's channel is none of harmony's (`analysis`, `commentary`, `final`), or an answer holds its marks.",
        "Correct the channel; marks are read in messages, not in an `output` column.",
    ),
    # Turns
    _error("role", "A turn's role has an unknown name.", "Use system, user, assistant, tool or their usual aliases."),
    _error(
        "order",
        "The turns don't alternate between the user (or a tool) and the assistant.",
        "Repair the order; the engine would drop the row without a word.",
    ),
    _error(
        "late-system", "A system message comes after the first turn.", "Move it to the beginning, or split the row."
    ),
    _error("empty-instruction", "Instruction and input are both empty.", "Fill one of them, or leave the row out."),
    _error("empty-output", "The output is empty: there is no answer to learn.", "Fill it, or leave the row out."),
    _error("empty-turn", "A turn in the middle says nothing.", "Remove the turn, or repair it."),
    _error(
        "no-answer", "The assistant never says or calls anything.", "Join the row with its answer, or leave it out."
    ),
    _error(
        "user-after-result",
        "The user speaks right after a tool's result, which the engine has no place for and the template no form.",
        "Prepare the data for a model whose template has a form for it, with `--template NAME` or `--model MODEL`:"
        " chatml, cpm4, falcon_h1, glm4, llama3, llama4, mllama, qwen, and qwen3 with its relatives (but qwen2_vl and"
        " qwen2_omni). For any other, put the assistant's answer to the result in between, or end the row before the"
        " user speaks; in Anthropic's messages, text beside a tool_result is such a turn.",
    ),
    _warning(
        "open-thought",
        "An answer begins with `<think>` and never closes it: all of it is trained as the answer.",
        "Close the thought, or leave the row out: it was probably cut.",
    ),
    # Tools and calls
    _error(
        "tool",
        "A tool can't be understood: no name, or parameters that are not an object.",
        'Write `{"name", "description", "parameters"}`.',
    ),
    _error(
        "tool-collision",
        "Two different tools have one name.",
        "Rename one; MCP names are unique within one server only.",
    ),
    _warning(
        "tool-schema",
        "A tool's parameters are not a valid JSON Schema; its calls can't be checked.",
        "Repair the schema at its source.",
    ),
    _error("call", "A call can't be read, or names no tool.", 'Write `{"name": …, "arguments": {…}}`.'),
    _error("arguments", "A call's arguments are not an object.", "Write an object, or JSON text of one."),
    _error(
        "undeclared-tool",
        "A call names a tool that the row doesn't declare.",
        "Give the tools with `--tools FILE`, or correct the name.",
    ),
    _warning(
        "missing-argument",
        "A call lacks an argument that its tool requires.",
        "Check whether the schema or the call is wrong.",
    ),
    _warning(
        "arguments-schema",
        "A call's arguments don't fit its tool's schema.",
        "Check whether the schema or the call is wrong.",
    ),
    _warning(
        "pattern-unchecked",
        "A schema's regular expression can't be searched in bounded time, as where it looks around or refers back.",
        "Do nothing, or write it without: all else of the schema is checked.",
    ),
    _warning(
        "schema-too-costly",
        "A schema is such that checking a call against it would take too long; the check was ended.",
        "Look for references or alternatives that multiply, and repair the schema at its source.",
    ),
    _error(
        "unmatched-result",
        "A tool's result belongs to no call, or it is not clear to which.",
        "Give every result the id of its call.",
    ),
    _warning(
        "missing-result",
        "Some of several calls in one turn have no result.",
        "Complete the log, if the model should see all results.",
    ),
    _warning(
        "media-dropped",
        "A tool's result holds an image or sound; a placeholder stands for it.",
        "Do nothing, unless the answer depends on it.",
    ),
    _error(
        "truncated",
        "A program shortened the text when it logged it (`…[8499 chars truncated]…`): the model wrote or read another.",
        "Log whole messages, or leave the call out.",
    ),
    _error(
        "needs-instructions",
        "A wire log has calls and results, but not what the user asked.",
        "Give `--instructions FILE`, or export the tools alone.",
    ),
    # The template
    _error(
        "placeholder",
        "A user's text holds `{{idx}}`, which the engine replaces by the turn's number.",
        "Write it in another way, for example `{{ idx }}`.",
    ),
    _error(
        "media-placeholder",
        "A text holds `<image>`, `<video>` or `<audio>`: with this template the engine stops loading.",
        "Write it in another way, or use a template for text.",
    ),
    _warning(
        "media-mark",
        "A user's text holds `<image>`, `<video>` or `<audio>`, but no picture, video or sound comes with the row.",
        "Leave such rows out, unless the text only speaks about the mark.",
    ),
    _warning(
        "special-token",
        "A text holds a control token of the template, such as the one that ends a turn.",
        "Remove it, unless it is meant.",
    ),
    _error(
        "parallel-calls",
        "The template can't make several calls in one turn.",
        "Use another template, or split the turn.",
    ),
    _error(
        "text-beside-call",
        "The template can't say text and a call in one turn.",
        "Use another template, or drop the text.",
    ),
    _error(
        "thought-beside-call",
        "The template can't think and call in one turn.",
        "Use another template, or drop the thought.",
    ),
    _warning(
        "text-call-unread",
        "With text beside it, this template writes a call that the engine's chat won't find.",
        "Use another template if calls are to be executed.",
    ),
    _warning(
        "tool-name-unread",
        "The template's own parser finds a call only if its name consists of letters, digits and `_`.",
        "Use another template for MCP's names.",
    ),
    _warning(
        "text-argument-unread",
        "An argument is text that reads as a number, a truth value or other JSON; the template writes text without"
        " quotes, so that whoever reads the call takes it for that value.",
        "Use another template where such arguments matter, or declare the argument as what it looks like.",
    ),
    _error(
        "call-mark", "The text or thought beside a call holds the mark that begins a call.", "Remove it from there."
    ),
    _error("thought-mark", "A thought holds the mark that ends it.", "Remove it from the thought."),
    # Secrets
    _warning(
        "secret",
        "A text looks as if it held a key, a token or a password.",
        "Replace it: a model may repeat what it was trained on.",
    ),
)

# What only a damaged or wrongly decoded text holds → the rule that it breaks.
DAMAGE = {"\0": "zero-byte", "\x1b$B": "escape-sequence", "\x1b$@": "escape-sequence", "\x1b$)C": "escape-sequence"}
# What other rules look for: harmony's mark, of an answer that was never taken apart; kinds of media, whose marks are
# `<image>` and so on; and what the engine replaces.
CHANNEL_MARK = "<|channel|>"
MEDIA_KINDS = ("image", "video", "audio")
PLACEHOLDER = "{{idx}}"
RULES: dict[str, Rule] = {rule.name: rule for rule in _RULES}


def render_rules() -> str:
    """The documentation page of all rules, Markdown."""
    lines = [
        "# Data rules",
        "",
        "The rules that `lfwrap prepare-data` checks every row against. An *error* sends the row to the rejects file,",
        "with file, line and the reason; a *warning* keeps it and is counted. Secrets are masked in every message.",
        "",
        "This page is generated from `lfwrap/data/schema/rules.py`.",
    ]
    for rule in RULES.values():
        lines += ["", f"## {rule.name}", "", f"*{rule.severity}*: {rule.summary}", "", rule.hint]
    return "\n".join(lines) + "\n"
