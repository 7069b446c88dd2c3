"""From evidence to a verdict: pure rules, each with a threshold; docs/explanation/verdict.md has their sources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lfwrap.errors import Finding, Severity
from lfwrap.plan.schedule import FEW_UPDATES
from lfwrap.units import plural
from lfwrap.verdict.curves import Point, loss_change
from lfwrap.verdict.evidence import Answers, Evidence
from lfwrap.verdict.result import RunVerdict, VerdictKind
from lfwrap.verdict.weights import WeightChange

GENERALISATION_LOSS = 0.05
"""Evaluation loss above its least value, as a part of it, from which a run is overfitted: Prechelt's GL of 5 %."""
_LEAST_RISE = 0.02
"""In nats a token: of a loss below 0.4, five per cent are less than what two orders of the same rows differ by."""
OUTWEIGHS = 1.0
"""A change as large as the weights themselves: the base is no longer what answers."""
_LEAST_GAIN = 0.005
"""A part of the base's loss: what is less is no change of the answers, however sure it is."""
_ROUNDING = 1e-4
"""Of the base's loss: what two ways of adding the same numbers in 16 bits may differ by."""
REPEATED = 0.1
"""Distinct rows as a part of all, from which the data are said to repeat themselves."""
_FEWEST_ROWS = 8
_NO_RELATION = 0.05
"""Of the loss a token: an own answer that is likelier than another row's by less has nothing of its question."""
_SURE_PART = 0.03
"""Of the loss a token: the largest error with which a missing relation is said to be missing."""
_LOST_PART = 0.25
"""Of the base's preference for the right answer: what is left below this is lost, not weakened."""
_LEAST_RATE = 1e-7
_RISES = 1.1
"""A training loss that ends this many times as high as it began has left the base's level."""


def judge(evidence: Evidence) -> RunVerdict:
    """What became of a training; the findings say what is wrong, and what to do."""
    findings = [*_doubts(evidence)]
    for rule in (_diverged, _unchanged, _overfitted, _unrelated, _too_little, _learned):
        found = rule(evidence, findings)
        if found is not None:
            kind, summary, more = found
            return RunVerdict(kind, summary, (*more, *findings), evidence.to_json())
    summary = "There is neither a loss curve nor weights that could be measured."
    return RunVerdict(VerdictKind.UNKNOWN, summary, tuple(findings), evidence.to_json())


_Found = tuple[VerdictKind, str, Sequence[Finding]]


def _diverged(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    weights, change = evidence.weights, loss_change(evidence.log.training)
    if weights and weights.broken:
        return _divergence(f"{_layers(weights, len(weights.broken))} hold numbers that are not finite.", evidence)
    broken = _first_broken([*evidence.log.training])
    if broken is not None:
        return _divergence(f"The training loss is no number from update {broken} on.", evidence)
    if has_no_labels(evidence) or change is None:
        return None
    tuned, base = _losses(evidence.answers)
    if tuned is not None and base is not None and not math.isfinite(tuned):
        return _divergence("The result's loss on its own rows is no number.", evidence)
    fell = change.falls or _gained(evidence.answers)
    if change.rises and change.last > _RISES * change.first and not fell:
        return _divergence(f"The training loss rose from {change.first:.3f} to {change.last:.3f}.", evidence)
    if tuned is not None and base is not None and tuned > _RISES * base and not change.falls:
        return _divergence(f"The result's loss is {tuned:.3f} where the base's is {base:.3f}.", evidence)
    if weights and weights.ratio is not None and weights.ratio >= OUTWEIGHS:
        return _divergence(
            f"The change outweighs the base: {weights.ratio:.1f} times the size of its weights, in the median layer.",
            evidence,
        )
    return None


def _divergence(what: str, evidence: Evidence) -> _Found:
    rates = [point.loss for point in evidence.log.rates]
    peak = f" It was {max(rates):.1e} at most." if rates else ""
    finding = Finding(
        "diverged",
        what,
        Severity.WARNING,
        hint=f"Train again with a tenth of the learning rate, or a longer warm-up.{peak}",
    )
    return VerdictKind.DIVERGED, what, [finding]


def _unchanged(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    weights, answers = evidence.weights, evidence.answers
    if answers is not None and _is_base(answers):
        text = f"The result answers as the base model does, word for word, to {_all(answers.asked)}."
        return VerdictKind.NOTHING_CHANGED, text, [_more_updates(evidence, "same-answers", text)]
    if weights is None or weights.moved is None or weights.moved > 0:
        return None
    finding = _why_unchanged(evidence, weights)
    text = "It answers as the base model does, word for word"
    if weights.layers == 0:
        return VerdictKind.NOTHING_CHANGED, f"The result changes no layer. {text}.", [finding]
    return VerdictKind.NOTHING_CHANGED, f"None of {_layers(weights)} moved. {text}: {finding.message}", [finding]


def _is_base(answers: Answers) -> bool:
    """Whether the result says what the base says, and its losses are the base's but for rounding."""
    if not answers.asked or answers.changed or answers.gain is None or not answers.base_loss:
        return False
    return abs(answers.gain.mean) < _ROUNDING * answers.base_loss


def _why_unchanged(evidence: Evidence, weights: WeightChange) -> Finding:
    if weights.layers == 0:
        return _warning(
            "no-layers",
            "The adapter stands on no layer.",
            "Write `lora_target: all`, or names of layers that the model has.",
        )
    rates = [point.loss for point in evidence.log.rates]
    if rates and max(rates) == 0:
        return _warning(
            "no-learning-rate",
            f"the learning rate was 0 in {_updates(len(rates))}.",
            "Raise learning_rate; a warm-up begins at 0, so give more updates: "
            "a smaller lfwrap.effective_batch_size, or more num_train_epochs.",
        )
    if has_no_labels(evidence):
        return _no_labels()
    return _warning(
        "weights-unmoved",
        "every update left the weights as they were.",
        "Look at the log for skipped updates, and at finetuning_type and lora_target in engine.yaml.",
    )


def has_no_labels(evidence: Evidence) -> bool:
    """Whether no token was trained on: every loss is exactly 0, or no row has a supervised token."""
    if evidence.answers is not None and evidence.answers.supervised_tokens == 0 and not evidence.answers.is_held_out:
        return True
    losses = [point.loss for point in evidence.log.training]
    return bool(losses) and all(loss == 0 or math.isnan(loss) for loss in losses)


def _no_labels() -> Finding:
    return _warning(
        "no-labels",
        "no token of the data was trained on: every loss is 0.",
        "Look at cutoff_len, mask_history and the rows' answers: `lfwrap data show` marks what is trained on.",
    )


def _overfitted(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    points = [point for point in evidence.log.evaluation if math.isfinite(point.loss)]
    change = loss_change(evidence.log.training)
    if len(points) > 1 and evidence.best_step is None:
        least = min(points, key=lambda point: point.loss)
        rise = points[-1].loss - least.loss
        if least is not points[-1] and rise > max(GENERALISATION_LOSS * least.loss, _LEAST_RISE):
            now = f"and is {points[-1].loss:.3f} now"
            text = f"The evaluation loss was least, {least.loss:.3f}, at update {least.step}, {now}"
            fell = f", while the training loss fell to {change.last:.3f}." if change else "."
            return VerdictKind.OVERFITTED, text + fell, [_take_checkpoint(evidence, least)]
    if evidence.data.rows >= _FEWEST_ROWS and evidence.data.distinct <= REPEATED * evidence.data.rows:
        text = (
            f"The training data repeat themselves: {evidence.data.distinct} of {evidence.data.rows} rows differ. "
            "They are known by heart, and nothing else was learned."
        )
        hint = "Give more different rows; `lfwrap prepare-data` drops copies."
        return VerdictKind.OVERFITTED, text, [_warning("repeated-rows", text, hint)]
    answers = evidence.answers
    if answers and answers.is_held_out and answers.gain and change and change.falls:
        gain = answers.gain
        if gain.mean < -max(3 * gain.error, GENERALISATION_LOSS * (answers.base_loss or 0.0)):
            text = (
                f"On {answers.source} the result's loss is {answers.tuned_loss:.3f}, the base's "
                f"{answers.base_loss:.3f}, while the training loss fell to {change.last:.3f}."
            )
            hint = "Give fewer epochs or a smaller learning rate, and evaluate during the training (eval_strategy)."
            return VerdictKind.OVERFITTED, text, [_warning("worse-on-unseen-rows", text, hint)]
    return None


def _take_checkpoint(evidence: Evidence, least: Point) -> Finding:
    message = f"After update {least.step} the evaluation loss only rose."
    if least.step in evidence.kept_steps:
        return _warning("overfitted", message, f"Take checkpoint-{least.step}, which is there.")
    hint = (
        f"checkpoint-{least.step} was not kept: train again with load_best_model_at_end=true "
        "(save_strategy and eval_strategy alike), or with fewer epochs."
    )
    return _warning("overfitted", message, hint)


def _too_little(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    change, answers = loss_change(evidence.log.training), evidence.answers
    if has_no_labels(evidence):
        finding = _no_labels()
        return VerdictKind.TOO_LITTLE, f"Nothing was taught: {finding.message}", [finding]
    if answers is not None and answers.asked and not answers.changed and not _gained(answers):
        text = f"The answers to {_all(answers.asked)} that were tried are the base's, word for word."
        return VerdictKind.TOO_LITTLE, text, [_more_updates(evidence, "same-answers", text)]
    if _gained(answers):
        return None
    if answers is not None and answers.gain is not None and answers.rows >= _FEWEST_ROWS:
        if change is not None and change.falls:
            return None
        text = (
            f"The loss is what the base's is: {answers.base_loss:.3f} → {answers.tuned_loss:.3f} on {answers.source}."
        )
        return VerdictKind.TOO_LITTLE, text, [_more_updates(evidence, "loss-unmoved", text)]
    if change is None:
        return None
    if change.falls:
        return None
    if change.noise is None:
        text = f"There are {_updates(change.updates)} in the log: no more can be told from so few."
        return VerdictKind.TOO_LITTLE, text, [_more_updates(evidence, "few-updates", text)]
    text = (
        f"The training loss went from {change.first:.3f} to {change.last:.3f}, which its noise of {change.noise:.3f} "
        "explains."
    )
    return VerdictKind.TOO_LITTLE, text, [_more_updates(evidence, "loss-unmoved", text)]


def _unrelated(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    """Answers that have nothing to do with their questions."""
    answers = evidence.answers
    if _lost_relation(answers):
        assert answers is not None and answers.margin is not None and answers.base_margin is not None  # noqa: S101, PT018
        text = (
            "The answers fit their own questions no better than those of other rows "
            f"({answers.margin.mean:+.2f} nats a token; the base: {answers.base_margin.mean:+.2f}): "
            "only their form was learned."
        )
        hint = "Are questions and answers of the same row? A join or a sort may have shuffled one column."
        return VerdictKind.TOO_LITTLE, text, [_warning("answers-of-other-questions", text, hint)]
    if _is_form_only(answers):
        assert answers is not None and answers.margin is not None  # noqa: S101, PT018
        text = (
            "Only the form of the answers was learned: they fit their own questions no better than those of other rows "
            f"({answers.margin.mean:+.2f} ± {answers.margin.error:.2f} nats a token)."
        )
        hint = (
            "Are questions and answers of the same row? A join or a sort may have shuffled one column. "
            "Else give more epochs, a larger model, or a higher rank."
        )
        return VerdictKind.TOO_LITTLE, text, [_warning("form-only", text, hint)]
    return None


def _lost_relation(answers: Answers | None) -> bool:
    """Whether the base knew which answer belongs to which question, and the result no longer does."""
    if answers is None or answers.margin is None or answers.base_margin is None:
        return False
    base, tuned = answers.base_margin, answers.margin
    return base.is_there and tuned.mean < 2 * tuned.error and tuned.mean < _LOST_PART * base.mean


def _is_form_only(answers: Answers | None) -> bool:
    """Whether the result's answers surely do not depend on the question: not where that is only not known."""
    if answers is None or answers.margin is None or not answers.tuned_loss:
        return False
    if answers.margin.error > _SURE_PART * answers.tuned_loss:
        return False  # a model that has hardly begun: rows differ by more than a relation would come to
    return answers.margin.mean + 2 * answers.margin.error < _NO_RELATION * answers.tuned_loss


def _more_updates(evidence: Evidence, rule: str, message: str) -> Finding:
    learning = sum(1 for point in evidence.log.rates if point.loss > 0)
    total = max(evidence.log.total_steps, learning)
    if 0 < total < FEW_UPDATES:
        hint = (
            f"{_updates(total)} are few: a smaller lfwrap.effective_batch_size or more num_train_epochs "
            f"makes {FEW_UPDATES} or more."
        )
    else:
        hint = "Raise the learning rate (LoRA takes 1e-4 to 2e-4 and more), the rank or the number of epochs."
    rates = [point.loss for point in evidence.log.rates]
    if rates and max(rates) < _LEAST_RATE:
        hint = f"The learning rate was {max(rates):.1e} at most: LoRA takes 1e-4 to 2e-4, full tuning 1e-5."
    return _warning(rule, message, hint)


def _learned(evidence: Evidence, _findings: Sequence[Finding]) -> _Found | None:
    change, answers, weights = loss_change(evidence.log.training), evidence.answers, evidence.weights
    parts = []
    if answers is not None and answers.gain is not None:
        where = answers.source if answers.is_held_out else f"{answers.source}, which it was trained on"
        parts.append(
            f"loss {answers.base_loss:.3f} → {answers.tuned_loss:.3f} on {plural(answers.rows, 'row')} of {where}"
        )
    elif change is not None:
        parts.append(f"training loss {change.first:.3f} → {change.last:.3f}")
    if answers is not None and answers.asked:
        parts.append(f"{answers.changed} of {answers.asked} answers differ from the base's")
    if answers is not None and answers.calls:
        calls = answers.calls
        parts.append(f"tool calls right: {calls.base} → {calls.tuned} of {calls.cases}")
    if weights is not None and weights.moved:
        size = f", by {weights.ratio:.1%} in the median" if weights.ratio is not None else ""
        parts.append(f"{weights.moved} of {_layers(weights)} moved{size}")
    if not (_gained(answers) or (change is not None and change.falls)):
        return None
    text = "; ".join(parts)
    return VerdictKind.LEARNED, f"{text[0].upper()}{text[1:]}.", []


def _doubts(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong or worth knowing beside the verdict itself."""
    yield from _stale(evidence)
    weights = evidence.weights
    if weights is not None and weights.moved and weights.moved < weights.layers:
        still = weights.layers - weights.moved
        message = f"{still} of {_layers(weights)} did not move."
        yield Finding("layers-unmoved", message, Severity.INFO, hint="Layers that get no gradient stay as they were.")
    if evidence.data.foreign_tokens:
        tokens = ", ".join(evidence.data.foreign_tokens[:4])
        yield _warning(
            "wrong-template",
            f"The template {evidence.data.template!r} writes {tokens}, which the model's tokenizer does not know.",
            "Name the model's own template; `lfwrap recipe schema` lists all.",
        )


def _stale(evidence: Evidence) -> Iterator[Finding]:
    weights, last = evidence.weights, max(evidence.kept_steps, default=None)
    done = max([evidence.log.total_steps if evidence.log.training else 0, *(p.step for p in evidence.log.training)])
    done = max((point.step for point in evidence.log.training), default=done)
    hint = "Take the newest checkpoint, or train again."
    if weights is not None and last is not None and evidence.best_step is None:
        same = sorted(int(name.rpartition("-")[2]) for name in weights.equal_to)
        if last == done and same and last not in same:
            message = f"The result is that of checkpoint-{same[-1]}: it was saved before the last update, {done}."
            yield _warning("saved-too-early", message, f"Take checkpoint-{last}, which is there.")
            return
        if last == done and not same and f"checkpoint-{last}" in weights.compared:
            message = f"The result is not what checkpoint-{last} holds, the state after the last update."
            yield _warning("saved-too-early", message, f"Take checkpoint-{last}, which is there.")
            return
    if evidence.saved_step is not None and evidence.saved_step < done:
        message = f"The state beside the result is of update {evidence.saved_step}, the training made {done}."
        yield _warning("saved-too-early", message, hint)
    elif evidence.result_is_older:
        yield _warning("saved-too-early", "The result was written before the last start of the engine.", hint)


def _first_broken(points: Sequence[Point]) -> int | None:
    """The first update whose loss is no number, where the losses after it are none either, or 0 as a stand-in."""
    broken = next((number for number, point in enumerate(points) if not math.isfinite(point.loss)), None)
    if broken is None:
        # The trainer writes 0 where a loss is no number: a loss of exactly 0 after others is no loss.
        broken = next((number for number, point in enumerate(points) if point.loss == 0 and number), None)
        if broken is not None and points[0].loss == 0:
            return None
    if broken is None or any(math.isfinite(point.loss) and point.loss != 0 for point in points[broken:]):
        return None
    return points[broken].step if any(point.loss for point in points) else None


def _gained(answers: Answers | None) -> bool:
    """Whether the result's loss is below the base's on the same rows, by more than chance."""
    if answers is None or answers.gain is None or answers.base_loss is None:
        return False
    return answers.gain.is_there and answers.gain.mean > _LEAST_GAIN * answers.base_loss


def _losses(answers: Answers | None) -> tuple[float | None, float | None]:
    return (answers.tuned_loss, answers.base_loss) if answers else (None, None)


def _layers(weights: WeightChange, count: int | None = None) -> str:
    return plural(weights.layers if count is None else count, "layer")


def _all(questions: int) -> str:
    return "the one question" if questions == 1 else f"all of {questions} questions"


def _updates(count: int) -> str:
    return plural(count, "update")


def _warning(rule: str, message: str, hint: str) -> Finding:
    return Finding(rule, message, Severity.WARNING, hint=hint)
