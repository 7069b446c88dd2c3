"""chrF and ROUGE by their libraries, in scripts with and without spaces; keywords."""

from __future__ import annotations

import pytest

from lfwrap.evaluate.text_scores import TextScorer, missing_keywords, split_words

pytest.importorskip("sacrebleu", reason="the extra 'eval' is not installed")
pytest.importorskip("rouge_score", reason="the extra 'eval' is not installed")


@pytest.fixture(scope="module")
def scorer() -> TextScorer:
    return TextScorer()


@pytest.mark.parametrize(
    "text", ["A lien is a claim on property.", "羊驼属于哺乳纲偶蹄目骆驼科。", "สวัสดี", "Ünïcödé wörds"]
)
def test_the_reference_itself_has_full_marks_in_every_script(scorer, text):
    scores = scorer.score(text, text)
    assert (scores.chrf, scores.rouge1, scores.rougeL) == pytest.approx((100, 100, 100))


def test_nothing_in_common_has_none(scorer):
    assert scorer.score("xyz", "羊驼").to_json() == {"chrf": 0.0, "rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    assert scorer.score("", "a").rougeL == 0


def test_rouge_by_hand(scorer):
    """Of three words two are shared and of two pairs one; of 羊驼不是动物 all but one character."""
    scores = scorer.score("the cat sat", "the cat ran")
    assert (scores.rouge1, scores.rouge2, scores.rougeL) == pytest.approx((200 / 3, 50, 200 / 3))
    assert scorer.score("羊驼是动物", "羊驼不是动物").rougeL == pytest.approx(100 * 2 * 1 * (5 / 6) / (1 + 5 / 6))


def test_the_corpus_sums_counts_before_it_divides(scorer):
    answers, references = ["a" * 40, "x"], ["a" * 40, "y"]
    both = scorer.corpus_chrf(answers, references)
    mean = sum(scorer.score(*pair).chrf for pair in zip(answers, references, strict=True)) / 2
    assert both > mean


def test_words_of_mixed_scripts():
    assert split_words("GPT-4很好, isn't_it") == ["gpt", "4", "很", "好", "isn", "t", "it"]


def test_keywords_are_found_whatever_their_case():
    assert missing_keywords("A LIEN is a Straße", ["lien", "STRASSE", "mortgage"]) == ["mortgage"]
    assert missing_keywords("x", []) == []
