"""Names of fields that say what should be trained: labels, masks, better and worse answers, media."""

from __future__ import annotations

import functools
import re
from enum import Enum

from lfwrap.data.schema.columns import ALIASES, normalise_name


class Meaning(Enum):
    """What a field says by its name."""

    LABEL = "whether the answer is good"
    TRAINED = "whether something is trained"
    MASKED = "whether something is left out of the loss"
    UNCLEAR = "a mask that may mean either"
    PREFERENCE = "a better or a worse answer"
    MEDIA = "an image, sound or video"
    ANSWER = "an answer beside the turns"
    HISTORY = "earlier turns beside the turns"
    SPLIT = "whether the row is for training"


_LABELS = frozenset({
    "label", "kto_tag", "kto_label", "is_good", "is_chosen", "is_desirable", "desirable", "is_preferred", "is_positive",
    "thumbs", "thumbs_up", "feedback", "is_correct", "correct", "accepted", "is_accepted", "approved", "is_approved",
    "is_valid", "passed", "resolved", "success", "is_success", "successful", "好坏", "是否正确",
})  # fmt: skip
_TRAINED = frozenset({
    "weight", "weights", "sample_weight", "loss_weight", "loss_weights", "loss_scale", "loss", "loss_mask", "train",
    "trainable", "is_trained", "train_on", "train_mask", "train_detail", "training", "training_detail", "learn",
    "train_on_turn", "turn_weights", "turn_mask", "assistant_mask", "assistant_masks", "权重",
})  # fmt: skip
_MASKED = frozenset({
    "masked", "is_masked", "no_loss", "ignore_loss", "skip_loss", "mask_history", "train_on_prompt",
    "train_on_input", "train_on_inputs",
})  # fmt: skip
_PREFERENCE = re.compile(
    r"(?:chosen|rejected|preferred|dispreferred|non_preferred|unpreferred)(?:_\w+)?"
    r"|\w+_(?:chosen|rejected)|(?:negative|bad|worse|better)_(?:response|answer|output)s?"
    r"|(?:response|answer|output|completion)_(?:0|1|a|b|j|k)"
)
_MEDIA = re.compile(r"(?:image|img|picture|photo|video|audio|sound)s?(?:_(?:path|url|uri|file|bytes|base64|data)s?)?")
_SPLITS = frozenset({"split", "data_split", "dataset_split", "partition", "数据集划分"})
_MEDIA_ALSO = frozenset({"pixel_values", "图片", "图像", "视频", "音频"})
_ANSWERS = frozenset({*ALIASES["output"], "target", "expected_output", "completions", "responses"})


@functools.lru_cache(maxsize=4096)
def meaning_of(name: str) -> Meaning | None:
    """What a field's name says about the training, or None where it says nothing.

    >>> meaning_of("kto_tag"), meaning_of("Rejected-Response"), meaning_of("source")
    (<Meaning.LABEL: 'whether the answer is good'>, <Meaning.PREFERENCE: 'a better or a worse answer'>, None)
    """
    plain = re.sub(r"[\s-]+", "_", normalise_name(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)))
    if plain in _LABELS:
        return Meaning.LABEL
    if plain in _TRAINED:
        return Meaning.TRAINED
    if plain in _MASKED:
        return Meaning.MASKED
    if plain in ("mask", "masks"):
        return Meaning.UNCLEAR
    if _PREFERENCE.fullmatch(plain):
        return Meaning.PREFERENCE
    if plain in _MEDIA_ALSO or _MEDIA.fullmatch(plain):
        return Meaning.MEDIA
    if plain in _ANSWERS:
        return Meaning.ANSWER
    if plain in _SPLITS:
        return Meaning.SPLIT
    return Meaning.HISTORY if plain in ALIASES["history"] else None
