"""Labels, masks, better and worse answers, media and second lists: honoured, or the row is refused by name."""

import shlex

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.schema.columns import resolve_columns
from lfwrap.data.schema.fields import is_nothing
from lfwrap.errors import DataError

_QUESTION = {"role": "user", "content": "Is the sky green?"}
_ANSWER = {"role": "assistant", "content": "No, it is blue."}
_TOLD = {"from": "gpt", "value": "No, it is blue."}
_ASKED = {"from": "human", "value": "Is the sky green?"}
_PAIR = {"instruction": "Is the sky green?", "output": "No, it is blue."}


def _messages(*turns, **fields):
    return "openai", {"messages": list(turns) or [_QUESTION, _ANSWER], **fields}


def _conversations(*turns, **fields):
    return "sharegpt", {"conversations": list(turns) or [_ASKED, _TOLD], **fields}


def _pair(**fields):
    return "alpaca", {**_PAIR, **fields}


def _convert(case, **options):
    name, record = case
    notes = RowNotes()
    line, _ = convert_record(record, Conversion(name, ConvertOptions(**options)), notes)
    return line, notes


def _refused_by(case, **options):
    with pytest.raises(Reject) as caught:
        _convert(case, **options)
    return caught.value.rule


ALL_WAYS = [_messages, _conversations, _pair]


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize("name", ["label", "kto_tag", "KTO-Tag", "is_good", "thumbs_up", "desirable"])
@pytest.mark.parametrize("value", [False, 0, "false", "BAD", " no ", -1, "👎"])
def test_an_answer_that_is_labelled_bad_is_not_trained(way, name, value):
    assert _refused_by(way(**{name: value})) == "labelled-bad"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("label", "thumbs_down"), ("label", "thumbs down"), ("user-feedback", "👎🏽"), ("is_correct", False),
     ("correct", 0), ("accepted", "no"), ("status", "rejected"), ("quality", "bad"), ("rating", -1), ("score", "-0.5"),
     ("verdict", "wrong"), ("is_bad", True), ("flagged", 1), ("toxic", "yes"), ("downvoted", True),
     ("thumbsDown", True), ("标签", "差"), ("label", ["bad"]), ("label", {"value": False}), ("labels", [True, False]),
     ("metadata", {"label": False}), ("extra_info", {"is_correct": False}), ("annotations", {"rating": "bad"})],
)  # fmt: skip
def test_a_bad_label_is_known_by_its_other_names_and_words(way, name, value):
    assert _refused_by(way(**{name: value})) == "labelled-bad"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("is_bad", False), ("flagged", 0), ("is_correct", True), ("label", "thumbs_up"), ("rejected", False)],
)
def test_an_answer_that_is_said_not_to_be_bad_is_trained(way, name, value):
    assert not _convert(way(**{name: value}))[1].left()


@pytest.mark.parametrize("feedback", [{"feedback": "thumbs_down"}, {"rating": -1}, {"metadata": {"liked": False}}])
def test_a_turn_that_is_labelled_bad_refuses_the_row(feedback):
    assert _refused_by(_messages(_QUESTION, {**_ANSWER, **feedback})) == "labelled-bad"


@pytest.mark.parametrize(
    ("case", "field"),
    [(way(**{name: value}), name) for way in ALL_WAYS for name, value in [
        ("label", False), ("sample_weight", 2), ("images", ["a.png"]), ("rejected", "Yes."), ("split", "test")]]
    + [(way(metadata={"label": 0}), "metadata.label") for way in ALL_WAYS]
    + [(_messages(_QUESTION, {**_ANSWER, "extra": {"weight": 0}}), "extra.weight"),
       (_messages(_QUESTION, {**_ANSWER, "loss": False}), "loss"),
       (_messages(response="Yes."), "response"),
       (_messages(conversations=[_ASKED, {**_TOLD, "value": "Yes."}]), "conversations")],
)  # fmt: skip
def test_the_way_out_that_a_reason_names_works(case, field):
    with pytest.raises(Reject) as caught:
        _convert(case)
    said = caught.value.reason.rpartition("--ignore ")[2]
    assert said == field
    assert _convert(case, ignore=frozenset({said}))[0]


def test_a_reason_spells_values_as_json_does():
    with pytest.raises(Reject, match="label is false: "):
        _convert(_pair(label=False))


@pytest.mark.parametrize("label", ["negative", "No", "bad"])
def test_a_label_that_says_what_the_answer_says_is_a_category(label):
    assert _convert(("alpaca", {**_PAIR, "output": label, "label": label}))[1].left() == {"label": label}


@pytest.mark.parametrize(("name", "value"), [("rating", 1), ("score", 0), ("votes", 12), ("reward", 0.3)])
def test_a_rating_that_may_be_high_or_low_is_merely_unused(name, value):
    assert _convert(_pair(**{name: value}))[1].left() == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [("no_train", True), ("do_not_train", True), ("skip", True), ("exclude_from_loss", True), ("is_trainable", False),
     ("compute_loss", False), ("useLoss", 0), ("turn_weight", 0.0), ("train_on_this", "false"), ("mask_out", True),
     ("context_only", True), ("prefill", True), ("supervised", False), ("label_mask", 0), ("训练", False)],
)  # fmt: skip
def test_a_mask_of_a_turn_is_known_by_the_words_of_its_name(name, value):
    assert _refused_by(_messages(_QUESTION, {**_ANSWER, name: value}, _QUESTION, _ANSWER)) == "masked-turn"


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_turns", [3]), ("trainable_turns", [1]), ("loss", [0, 0, 0, 1]), ("last_turn_only", True),
     ("only_last", True), ("train_on_last_turn_only", True)],
)  # fmt: skip
def test_a_choice_of_turns_beside_them_refuses_the_row(name, value):
    rule = _refused_by(_messages(_QUESTION, _ANSWER, _QUESTION, _ANSWER, **{name: value}))
    assert rule in ("masked-turn", "weighted-row")


@pytest.mark.parametrize("where", ["call", "function"])
def test_a_masked_call_refuses_the_row(where):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    (call if where == "call" else call["function"])["weight"] = 0
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {}}}]
    assert _refused_by(_messages(_QUESTION, {"role": "assistant", "tool_calls": [call]}, tools=tools)) == "masked-turn"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("corrected_output", "It is red."), ("edited_response", "It is red."), ("revision", "It is red."),
     ("expected_output", "It is red."), ("goldAnswer", "It is red."), ("completions", ["It is red.", "Yes."])],
)  # fmt: skip
def test_an_answer_that_mends_the_one_that_was_read_refuses_the_row(way, name, value):
    assert _refused_by(way(**{name: value})) == "second-answer"


def test_another_answer_is_left_out_where_the_user_named_the_column():
    line, _ = _convert(_pair(corrected_output="It is red."), columns={"output": "output"})
    assert b"blue" in line


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize("value", [True, 1, "true", "good"])
def test_an_answer_that_is_labelled_good_is_trained_and_its_label_is_used(way, value):
    line, notes = _convert(way(label=value))
    assert b"blue" in line
    assert not notes.left()


@pytest.mark.parametrize("value", ["contract law", 7.5, "law/civil"])
def test_a_label_that_is_a_category_is_merely_unused(value):
    assert _convert(_pair(label=value))[1].left() == {"label": value}


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight", 0), ("weight", 0.0), ("loss_weight", 0.0), ("loss", False), ("train", False), ("trainable", "no"),
     ("masked", True), ("loss_mask", 0), ("weight", 0.5), ("lossWeight", 0), ("mask", 1), ("no_loss", True),
     ("train_detail", [{"begin_offset": 0, "end_offset": 3, "train": False}])],
)  # fmt: skip
@pytest.mark.parametrize("way", [_messages, _conversations])
def test_a_turn_of_the_assistant_that_is_not_to_be_trained_refuses_the_row(way, name, value):
    asked, told = (_QUESTION, _ANSWER) if way is _messages else (_ASKED, _TOLD)
    assert _refused_by(way(asked, {**told, name: value}, asked, told)) == "masked-turn"


@pytest.mark.parametrize(("name", "value"), [("weight", 1), ("train", True), ("loss", "true"), ("masked", False)])
def test_a_turn_that_is_to_be_trained_is_what_the_engine_does(name, value):
    assert not _convert(_messages(_QUESTION, {**_ANSWER, name: value}))[1].left()
    assert _refused_by(_messages({**_QUESTION, name: value}, _ANSWER)) == "masked-turn"


@pytest.mark.parametrize(("name", "value"), [("weight", 0), ("loss_weight", 0.0), ("train", False), ("masked", True)])
def test_a_turn_of_the_user_that_is_not_to_be_trained_is_what_the_engine_does(name, value):
    assert not _convert(_messages({**_QUESTION, name: value}, _ANSWER))[1].left()


def test_a_part_of_a_turn_may_be_masked_too():
    parts = [{"type": "text", "text": "No, ", "train": False}, {"type": "text", "text": "blue."}]
    assert _refused_by(_messages(_QUESTION, {"role": "assistant", "content": parts})) == "masked-turn"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [("weight", 2.0, "weighted-row"), ("sample_weight", "0.3", "weighted-row"), ("train", False, "weighted-row"),
     ("loss_mask", [0, 1], "masked-turn"), ("turn_weights", [1.0, 0.0], "masked-turn"),
     ("mask_history", True, "weighted-row")],
)  # fmt: skip
def test_a_weight_or_mask_beside_the_turns_refuses_the_row(way, name, value, rule):
    assert _refused_by(way(**{name: value})) == rule


@pytest.mark.parametrize(
    ("name", "value"), [("weight", "1.5 kg"), ("train", "split-a"), ("loss", 2.31), ("training", "2026 course")]
)
def test_a_weight_of_a_thing_and_a_logged_loss_are_merely_unused(name, value):
    assert _convert(_pair(**{name: value}))[1].left() == {name: value}


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("chosen", "blue"), ("rejected", "green"), ("rejected_response", "green"), ("response_rejected", "green"),
     ("rejected", {"from": "gpt", "value": "green"}), ("chosen", [_ANSWER]), ("non_preferred_output", [_ANSWER]),
     ("answer_b", "green"), ("negative_response", "green")],
)  # fmt: skip
def test_a_better_or_worse_answer_is_preference_data(way, name, value):
    assert _refused_by(way(**{name: value})) == "preference"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("images", ["a.png"]), ("image", "a.png"), ("videos", ["v.mp4"]), ("audio", {"bytes": "AA"}),
     ("image_path", "a.png"), ("imageUrl", "https://a/b.png"), ("audios", [{"path": "a.wav"}]), ("图片", "a.png"),
     ("attachments", [{"name": "a.pdf"}]), ("image_0", "a.png"), ("screenshot", "a.png"), ("pic", "a.png")],
)  # fmt: skip
def test_media_in_a_column_refuse_the_row(way, name, value):
    assert _refused_by(way(**{name: value})) == "media"


@pytest.mark.parametrize("value", ["a/b.PNG", ["v.mp4"], "data:image/png;base64,AA", "scan.pdf"])
@pytest.mark.parametrize("name", ["file", "files", "figures", "document"])
def test_a_file_of_media_refuses_the_row_and_any_other_file_is_merely_unused(name, value):
    assert _refused_by(_messages(**{name: value})) == "media"
    assert name in _convert(_messages(**{name: "rows/part-1.jsonl"}))[1].left()


@pytest.mark.parametrize("value", [[None], [[]], {"bytes": None, "path": None}, "None", "nan", False])
def test_a_column_of_media_that_names_none_is_merely_unused(value):
    assert "image" in _convert(_messages(image=value))[1].left()


def test_media_in_a_turn_refuse_the_row():
    assert _refused_by(_messages({**_QUESTION, "images": ["iVBOR"]}, _ANSWER)) == "media"


@pytest.mark.parametrize(
    "name", ["system", "tools", "weight", "images", "rejected", "label", "response", "history", "split"]
)
def test_what_a_table_lacks_is_nothing_even_where_its_program_wrote_nan(name):
    line, notes = _convert(_messages(**{name: float("nan")}))
    assert line == _convert(_messages())[0]
    assert all(is_nothing(value) for value in notes.left().values())


def test_an_answer_that_a_table_lacks_is_none():
    assert _refused_by(_messages(_QUESTION, {"role": "assistant", "content": float("nan")})) == "no-answer"


@pytest.mark.parametrize("value", [10**400, [10**400, 1]])
def test_a_weight_of_hundreds_of_digits_refuses_the_row_as_any_other(value):
    assert _refused_by(_messages(weight=value)) in ("weighted-row", "masked-turn")


@pytest.mark.parametrize(
    ("name", "typed"),
    [("weight", "--ignore weight"), ("loss weight", "--ignore 'loss weight'"), ("Loss-Weight", "--ignore Loss-Weight")],
)
def test_the_way_out_works_when_it_is_typed(name, typed):
    with pytest.raises(Reject) as caught:
        _convert(_messages(**{name: 0.5}))
    assert caught.value.reason.endswith(typed)
    assert _convert(_messages(**{name: 0.5}), ignore=frozenset(shlex.split(typed)[1:]))[0] == _convert(_messages())[0]


def test_two_columns_that_could_be_one_field_are_told_apart_by_what_is_typed():
    with pytest.raises(DataError) as caught:
        resolve_columns(["Answer", "AI prompt", "reply"], {})
    assert caught.value.hint == "Say which: --map output=Answer"
    with pytest.raises(DataError) as caught:
        resolve_columns(["\u3000答案", "reply"], {})
    assert caught.value.hint == "Say which: --map 'output=\u3000答案'"


@pytest.mark.parametrize("value", [[], None, "", {}])
@pytest.mark.parametrize("name", ["images", "rejected", "label", "weight", "response"])
def test_an_empty_field_says_nothing(name, value):
    assert _convert(_messages(**{name: value}))[1].left() == {name: value}


@pytest.mark.parametrize(
    "value", [[_ASKED, {"from": "gpt", "value": "Yes."}], [{"role": "user", "content": "Other?"}], [["Q", "A"]]]
)
def test_a_second_conversation_refuses_the_row(value):
    name = "history" if value == [["Q", "A"]] else "conversations_v2"
    assert _refused_by(_messages(**{name: value})) == "second-conversation"


def test_the_same_conversation_in_another_layout_is_merely_unused():
    assert "copy" in _convert(_messages(copy=[_ASKED, _TOLD]))[1].left()


@pytest.mark.parametrize("name", ["response", "answer", "output", "completion", "target", "答案"])
def test_an_answer_beside_the_turns_refuses_the_row_unless_a_turn_says_it(name):
    assert _refused_by(_messages(**{name: "It is red."})) == "second-answer"
    assert _refused_by(_messages(_QUESTION, _ANSWER, _QUESTION, **{name: "It is red."})) == "second-answer"
    assert name in _convert(_messages(**{name: "it is blue"}))[1].left()


@pytest.mark.parametrize(
    ("case", "field"),
    [(_messages(label=False), "label"), (_pair(rejected="green"), "rejected"), (_messages(images=["a"]), "images"),
     (_messages(_QUESTION, {**_ANSWER, "weight": 0}), "weight"),
     (_messages(_QUESTION, {**_ANSWER, "weight": 0}), "messages[].weight"), (_messages(answer="red"), "answer")],
)  # fmt: skip
def test_what_may_be_ignored_refuses_nothing(case, field):
    line, _ = _convert(case, ignore=frozenset([field]))
    assert b"blue" in line


@pytest.mark.parametrize("name", ["id", "source", "category", "score", "rating", "split", "lang", "model", "timestamp"])
def test_other_fields_are_merely_unused(name):
    for way in ALL_WAYS:
        assert _convert(way(**{name: 3}))[1].left() == {name: 3}


@pytest.mark.parametrize(
    "case",
    [("sharegpt", {"conversations": [_ASKED], "chosen": _TOLD, "rejected": {"from": "gpt", "value": "Yes."}}),
     ("openai", {"messages": [_QUESTION], "rejected": "Yes."}),
     ("alpaca", {"instruction": "Is it?", "output": "", "rejected": "Yes."}),
     ("alpaca", {"instruction": "Is it?", "output": ["No.", "Yes."], "rejected": "Yes."})],
)  # fmt: skip
def test_a_row_whose_answer_stands_in_its_preferences_is_called_by_its_kind(case):
    assert _refused_by(case) == "preference"


def test_turns_under_prompt_and_completion_are_one_conversation():
    line, notes = _convert(("openai", {"prompt": [_QUESTION], "completion": [_ANSWER]}))
    assert line == _convert(_messages())[0]
    assert not notes.left()


@pytest.mark.parametrize("value", ["1e400", "-1e999", "NaN", "Infinity"])
def test_a_call_never_holds_what_json_has_not(value):
    call = {"type": "function", "function": {"name": "f", "arguments": f'{{"x": [{value}]}}'}}
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {}}}]
    assert _refused_by(_messages(_QUESTION, {"role": "assistant", "tool_calls": [call]}, tools=tools)) in (
        "arguments", "not-json",
    )  # fmt: skip
    toolace = {
        "system": 'Functions:\n[{"name": "f", "description": "d", "parameters": {"type": "dict", "properties": {}}}]',
        "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": f"[f(x={value})]"}],
    }
    assert _refused_by(("toolace", toolace)) in ("call", "not-json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_tool_never_holds_what_json_has_not(value):
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {"x": {"default": value}}}}]
    assert _refused_by(_messages(tools=tools)) == "not-json"


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("value", "is_refused"), [("test", True), ("Validation", True), ("dev", True), ("train", False)]
)
def test_a_row_that_is_kept_for_tests_is_not_trained(way, value, is_refused):
    if is_refused:
        assert _refused_by(way(split=value)) == "held-out"
        assert b"blue" in _convert(way(split=value), ignore=frozenset(["split"]))[0]
    else:
        assert not _convert(way(split=value))[1].left()


@pytest.mark.parametrize("name", ["is_correct", "accepted", "resolved", "success", "approved", "isValid"])
def test_an_answer_that_failed_is_labelled_bad(name):
    assert _refused_by(_messages(**{name: False})) == "labelled-bad"
    assert not _convert(_messages(**{name: True}))[1].left()


def test_a_thought_after_text_is_moved_to_the_front_and_counted():
    parts = [
        {"type": "text", "text": "Look."},
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": " Blue."},
    ]
    line, notes = _convert(("anthropic", {"messages": [_QUESTION, {"role": "assistant", "content": parts}]}))
    assert b"Look. Blue." in line
    assert notes.repairs["thought-moved-to-front"] == 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["instruction", "output"])
def test_a_number_beyond_all_bounds_is_no_text(name, value):
    assert _refused_by(_pair(**{name: value})) == "not-json"


@pytest.mark.parametrize(
    ("name", "value"), [("is_good", False), ("label", False), ("is_good", "false"), ("kto_tag", 0)]
)
def test_a_truth_value_that_the_answer_repeats_by_chance_is_no_category(name, value):
    told = {"role": "assistant", "content": str(value).upper()}
    assert _refused_by(_messages(_QUESTION, told, **{name: value})) == "labelled-bad"
