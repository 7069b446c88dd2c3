"""Names of fields that say what should be trained: labels, masks, better and worse answers, media."""

from __future__ import annotations

import functools
import re
from enum import Enum

from lfwrap.data.schema.columns import ALIASES, normalise_name


class Meaning(Enum):
    """What a field says by its name."""

    LABEL = "whether the answer is good"
    BAD = "whether the answer is bad"
    VERDICT = "what somebody says of the answer"
    TRAINED = "whether something is trained"
    MASKED = "whether something is left out of the loss"
    UNCLEAR = "a mask that may mean either"
    PREFERENCE = "a better or a worse answer"
    MEDIA = "an image, sound or video"
    ANSWER = "an answer beside the turns"
    HISTORY = "earlier turns beside the turns"
    SPLIT = "whether the row is for training"
    ENDED = "why the answer ends where it ends"
    IN_USE = "whether it is in use"
    OUT_OF_USE = "whether it is out of use"
    HELD_OUT = "whether the row is for validation or tests"


_LABELS = re.compile(
    r"(?:(?:is|was|human|user|completion|answer|response|binary|kto)_)*"
    r"(?:label|good|desirable|preferred|positive|correct|right|accepted|acceptable|approved|helpful|useful|liked|passed|valid"
    r"|resolved|success|successful|(?:all_|unit_)*tests?_passed|upvoted|thumbs?_up|feedback|thumbs)(?:_(?:label|flag))?"
)
_LABELS_ALSO = frozenset({"labels", "kto_tag", "is_chosen", "like", "upvote", "好坏", "标签", "判断",
                          "是否好评", "是否正确", "helpfulness", "correctness"})  # fmt: skip
_BAD = re.compile(
    r"(?:(?:is|was)_)?(?:bad|wrong|incorrect|undesirable|unacceptable|unhelpful|toxic|harmful|unsafe|flagged|disliked"
    r"|downvoted|thumbs?_down|failed|hallucinated|hallucination)(?:_(?:label|flag|answer))?|dislike|downvote|是否差评"
)
_VERDICTS = re.compile(
    r"(?:(?:human|user|answer|response|overall)_)?(?:rating|score|reward|quality|verdict|votes?|annotation|judge?ment"
    r"|review|evaluation|grade|status|preference|rank_label|thumb)|评价|反馈|评分|质量"
    r"|(?:human|review|reviewer|annotator|annotation|label|answer|response|quality|qa|test|tests|validation"
    r"|verification|moderation|approval|eval|judge|check|grading|run|task|trajectory)_(?:outcome|decision|verdict)"
    r"|(?:human|review|reviewer|annotation|label|answer|response|quality|qa|test|tests|validation|verification"
    r"|moderation|approval|eval|judge|check|grading|run|exit|trajectory)_(?:status|result)"
)
_TRAINED = frozenset({
    "weight", "weights", "sample_weight", "loss_weight", "loss_weights", "loss_scale", "loss", "loss_mask", "train",
    "trainable", "is_trained", "train_on", "train_mask", "train_detail", "training", "training_detail", "learn",
    "train_on_turn", "turn_weights", "turn_mask", "assistant_mask", "assistant_masks", "权重",
})  # fmt: skip
_MASKED = frozenset({
    "masked", "is_masked", "no_loss", "ignore_loss", "skip_loss", "mask_history", "train_on_prompt",
    "train_on_input", "train_on_inputs",
})  # fmt: skip
_TRAINED_ALSO = re.compile(
    r"(?:is|to|compute|calculate|calc|cal|use|with|has|requires|in|for)_(?:train|trained|trainable|loss|learn|learned)"
    r"|supervised|learnable"
)
_CHOSEN_TURNS = re.compile(
    r"(?:train|trainable|trained|loss|supervised)_(?:on_)?(?:turns?|turn_indices|indices|roles?|messages?|steps?)"
)
_ONLY_LAST = re.compile(
    r"(?:train_|loss_)?(?:on_)?(?:only_last|last)(?:_turn|_round|_message|_response|_answer)?(?:_only)?"
)
_SPLITS = frozenset({"split", "data_split", "dataset_split", "partition", "split_name", "subset", "fold", "set",
                     "data_set", "data_type", "phase", "数据集划分"})  # fmt: skip
_IN_USE = re.compile(r"(?:is_)?(?:enabled|active|included|in_use)|include|keep|use|use_row|use_for_training")
_OUT_OF_USE = re.compile(
    r"(?:is_)?(?:deleted|disabled|excluded|skipped|ignored|discarded|dropped|removed|quarantined|archived)"
    r"|delete|disable|exclude|skip|ignore|discard|drop|remove"
)
_HELD_OUT = re.compile(r"(?:is_)?(?:held_?out|hold_?out)|is_(?:test|eval|val|valid_set|validation|dev|benchmark)")
_ENDS = frozenset({"finish_reason", "stop_reason", "done_reason", "finish_type", "end_reason"})
# Words in the name of a turn's own field that tell of a mask, and those that turn it round.
_MASK_WORDS = frozenset({"loss", "train", "trained", "trainable", "training", "untrained", "weight", "weights", "mask",
                         "masked", "supervised", "supervise", "learn", "learned", "grad", "coefficient", "coef",
                         "训练"})  # fmt: skip
_NOT = frozenset({"no", "not", "dont", "ignore", "ignored", "skip", "skipped", "exclude", "excluded", "untrained",
                  "masked", "without"})  # fmt: skip
_NOT_TRAINED = frozenset({"skip", "ignore", "ignored", "exclude", "excluded", "prefill", "prefix", "context_only",
                          "is_context", "detach"})  # fmt: skip
_PREFERENCE = re.compile(
    r"(?:chosen|rejected|preferred|dispreferred|non_preferred|unpreferred)(?:_\w+)?"
    r"|\w+_(?:chosen|rejected)|(?:negative|bad|worse|better)_(?:response|answer|output)s?"
    r"|(?:response|answer|output|completion|conversation|messages|human_ref)_(?:0|1|a|b|j|k)"
)
_MEDIA = re.compile(
    r"(?:image|img|pic|picture|photo|video|audio|sound|speech|screenshot|media|gif|attachment)s?"
    r"(?:_(?:path|url|uri|file|bytes|base64|data|name|list|\d+)s?)?|experimental_attachments|(?:wav|mp3|mp4)(?:_path)?"
)
_MEDIA_ALSO = frozenset({
    "pixel_values", "mm_data", "multi_modal_data", "multimodal_data", "multimodal", "point_cloud", "图片", "图像",
    "视频", "音频",
})  # fmt: skip
_ANSWERS = frozenset({*ALIASES["output"], "target", "completions", "responses", "revision", "correction"})
_MENDED = re.compile(
    r"(?:corrected|edited|revised|rewritten|improved|fixed|expected|ideal|gold|golden|target)"
    r"_(?:output|response|answer|completion|reply|text)s?"
)

_NONE: frozenset[str] = frozenset()
_KINDS: tuple[tuple[Meaning, frozenset[str], re.Pattern[str] | None], ...] = (
    (Meaning.LABEL, _LABELS_ALSO, _LABELS),
    (Meaning.BAD, _NONE, _BAD),
    (Meaning.VERDICT, _NONE, _VERDICTS),
    (Meaning.SPLIT, _SPLITS, None),
    (Meaning.HELD_OUT, _NONE, _HELD_OUT),
    (Meaning.ENDED, _ENDS, None),
    (Meaning.TRAINED, _TRAINED, _TRAINED_ALSO),
    (Meaning.MASKED, _MASKED, _ONLY_LAST),
    (Meaning.IN_USE, _NONE, _IN_USE),
    (Meaning.OUT_OF_USE, _NONE, _OUT_OF_USE),
    (Meaning.UNCLEAR, frozenset({"mask", "masks"}), _CHOSEN_TURNS),
    (Meaning.PREFERENCE, _NONE, _PREFERENCE),
    (Meaning.MEDIA, _MEDIA_ALSO, _MEDIA),
    (Meaning.ANSWER, _ANSWERS, _MENDED),
    (Meaning.HISTORY, frozenset(ALIASES["history"]), None),
)


@functools.lru_cache(maxsize=4096)
def meaning_of(name: str) -> Meaning | None:
    """What a field's name says about the training, or None where it says nothing.

    >>> meaning_of("kto_tag"), meaning_of("Rejected-Response"), meaning_of("source")
    (<Meaning.LABEL: 'whether the answer is good'>, <Meaning.PREFERENCE: 'a better or a worse answer'>, None)
    """
    plain = _plain(name)
    for meaning, names, pattern in _KINDS:
        if plain in names or (pattern is not None and pattern.fullmatch(plain)):
            return meaning
    return None


def meaning_in_turn(name: str) -> Meaning | None:
    """What a field of a turn says by its name: one that tells of loss, training or weights there is a mask.

    >>> meaning_in_turn("exclude_from_loss"), meaning_in_turn("name")
    (<Meaning.MASKED: 'whether something is left out of the loss'>, None)
    """
    plain = _plain(name)
    if plain in _NOT_TRAINED:
        return Meaning.MASKED
    meaning = meaning_of(name)
    if meaning is not None:
        return meaning
    words = set(plain.split("_"))
    if not words & _MASK_WORDS:
        return None
    if "mask" in words:
        return Meaning.UNCLEAR
    return Meaning.MASKED if words & _NOT else Meaning.TRAINED


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", normalise_name(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)))
