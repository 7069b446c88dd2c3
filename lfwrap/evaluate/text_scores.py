"""How near an answer is to its reference: chrF (sacrebleu) and ROUGE (rouge-score), and keywords it must hold.

chrF is the F-score (β = 2) of character 1- to 6-grams (Popović 2015). ROUGE-L is the F-score of the longest common
subsequence of words (Lin 2004). rouge-score's own tokenizer knows ASCII letters only; ours takes each character of
Chinese, Japanese, Korean and Thai as a word, and runs of letters and digits of any other script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lfwrap.errors import PreflightError

ROUGE_KINDS = ("rouge1", "rouge2", "rougeL")
# Scripts that write without spaces: Thai, kana, CJK ideographs and their extensions, Hangul.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class TextScores:
    """Likeness of an answer to its reference, each 0 to 100.

    Attributes:
        chrf: chrF2.
        rouge1: F of single words.
        rouge2: F of pairs of words.
        rougeL: F of the longest common subsequence.
    """

    chrf: float
    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815 - its name everywhere

    def to_json(self) -> dict[str, float]:
        """Plain values, two decimals."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def split_words(text: str) -> list[str]:
    """Lower-case words; each character of a script without spaces is a word.

    >>> split_words("Two words, 两个")
    ['two', 'words', '两', '个']
    """
    return _WORD.findall(text.lower())


class _Words:
    """rouge-score's interface of a tokenizer."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        """The words of a text."""
        return split_words(text)


class TextScorer:
    """chrF and ROUGE of answers."""

    def __init__(self) -> None:
        """Load the libraries. Raises PreflightError when the extra ``eval`` is not installed."""
        try:
            from rouge_score.rouge_scorer import RougeScorer
            from sacrebleu.metrics import CHRF
        except ImportError as error:
            raise PreflightError(
                f"scores against the references need the package '{error.name}'",
                hint="Install it with: pip install 'lfwrap[eval]'",
            ) from error
        self._chrf = CHRF()
        self._rouge = RougeScorer(list(ROUGE_KINDS), tokenizer=_Words())

    def score(self, answer: str, reference: str) -> TextScores:
        """One answer against its reference."""
        rouge = self._rouge.score(reference, answer)
        chrf = self._chrf.sentence_score(answer, [reference]).score
        return TextScores(chrf, *(100 * rouge[kind].fmeasure for kind in ROUGE_KINDS))

    def corpus_chrf(self, answers: Sequence[str], references: Sequence[str]) -> float:
        """The chrF of all answers together: counts are summed before the F-score is taken."""
        return float(self._chrf.corpus_score(list(answers), [list(references)]).score)


def missing_keywords(answer: str, wanted: Sequence[str]) -> list[str]:
    """Those of the texts that the answer does not hold, without regard to case."""
    folded = answer.casefold()
    return [word for word in wanted if word.casefold() not in folded]


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean, two decimals; None of nothing."""
    return round(sum(values) / len(values), 2) if values else None


def normal(text: str) -> str:
    """A text without differences in white space, to tell whether two answers are the same."""
    return " ".join(text.split())
