"""Rows with labels, better and worse answers, masks, media, channels and second lists, in several layouts each."""

from __future__ import annotations

import json
from typing import Any

from meaning_case import RIGHT, WRONG, Case, asked_row, called, chat, share

LABELS = [
    Case("bad label", "alpaca", [asked_row("q1", WRONG, kto_tag=False), asked_row("q2", RIGHT, kto_tag=True)]),
    Case(
        "bad label",
        "alpaca",
        [{"prompt": "q1", "completion": WRONG, "label": False}, {"prompt": "q2", "completion": RIGHT, "label": True}],
    ),
    Case("bad label", "openai", [chat("q1", WRONG, label=False), chat("q2", RIGHT, label=True)]),
    Case("bad label", "openai", [called("{}", label=False), chat("q2", RIGHT, kto_tag=True)]),
    Case("bad label", "sharegpt", [share("q0", "a0", "q1", WRONG, kto_tag=False), share("q2", RIGHT, kto_tag=True)]),
    Case(
        "bad label",
        "alpaca",
        "question,answer,label\nq1,The moon is made of cheese.,False\nq2,The moon is made of rock.,True\n",
        "rows.csv",
    ),
]
PREFERENCES = [
    Case("preference", "openai", [chat("Hi", "Hello there, friend!", "q1", chosen=RIGHT, rejected=WRONG)]),
    Case(
        "preference",
        "openai",
        [chat("q1", chosen={"role": "assistant", "content": RIGHT}, rejected={"role": "assistant", "content": WRONG})],
    ),
    Case("preference", "openai", [chat("Hi", "Hello there, friend!", "q1", response=RIGHT)]),
    Case(
        "preference",
        "sharegpt",
        [
            share(
                "Hi",
                "Hello there, friend!",
                "q1",
                chosen={"from": "gpt", "value": RIGHT},
                rejected={"from": "gpt", "value": WRONG},
            )
        ],
    ),
    Case("preference", "sharegpt", [share("Hi", "Hello there, friend!", "q1", chosen=RIGHT, rejected=WRONG)]),
    Case("preference", "alpaca", [asked_row("q1", RIGHT, rejected=WRONG)]),
    Case("preference", "alpaca", [{"instruction": "q1", "input": "", "chosen": RIGHT, "rejected": WRONG}]),
    Case(
        "preference",
        "openai",
        [{"chosen": chat("q1", RIGHT)["messages"], "rejected": chat("q1", WRONG)["messages"]}],
    ),
    Case(
        "preference",
        "openai",
        [{"chosen_messages": chat("q1", RIGHT)["messages"], "rejected_messages": chat("q1", WRONG)["messages"]}],
    ),
]
_MASKED = [{"weight": 0}, {"weight": 0.0}, {"loss_weight": 0.0}, {"loss": False}, {"train": False}]


def _masked(make: Any, mark: dict[str, Any], key: str) -> dict[str, Any]:
    record: dict[str, Any] = make("q1", WRONG, "Try again.", RIGHT)
    record[key][1] |= mark
    return record


MASKS = [
    *(Case(f"masked turn, {next(iter(mark))}", "openai", [_masked(chat, mark, "messages")]) for mark in _MASKED),
    *(
        Case(f"masked turn, {next(iter(mark))}", "sharegpt", [_masked(share, mark, "conversations")])
        for mark in _MASKED
    ),
    Case("masked last turn", "openai", [chat("q1", "Well, that depends.", "q2", WRONG, last={"weight": 0})]),
    Case(
        "masked call",
        "openai",
        [
            {
                **called("{}"),
                "messages": [{**one, "weight": 0} if "tool_calls" in one else one for one in called("{}")["messages"]],
            }
        ],
    ),
    Case("turns that are all trained", "openai", [chat("q1", RIGHT, last={"weight": 1})], good=1),
    Case("turns that are all trained", "sharegpt", [share("q1", RIGHT, last={"train": True})], good=1),
]
MEDIA = [
    Case("media", "openai", [chat("<image>What is it?", "A heron.", images=["a.png"])]),
    Case("media", "openai", [chat("What is it?", "A heron.", images=["a.png"])]),
    Case("media", "openai", [chat("<video>What happens?", "A heron flies.", videos=["a.mp4"])]),
    Case("media", "sharegpt", [share("<audio>What is heard?", "A heron cries.", audios=["a.wav"])]),
    Case("media", "sharegpt", [share("<image>\nWhat is it?", "A heron.", image="a.jpg", id="1")]),
    Case("media", "alpaca", [asked_row("What is it?", "A heron.", images=["a.png"])]),
    Case(
        "media",
        "openai",
        [
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "a.png"}},
                            {"type": "text", "text": "What?"},
                        ],
                    },
                    {"role": "assistant", "content": "A heron."},
                ]
            }
        ],
    ),
    Case("no media", "openai", [chat("What is it?", "A heron.", images=[], videos=None)], good=1),
]
CHANNELS = [
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "developer", "content": "Be brief."},
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Rock or cheese? Think hard."},
                    {"role": "assistant", "channel": "final", "content": RIGHT},
                ]
            }
        ],
    ),
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Rock or cheese? Think hard."},
                ]
            }
        ],
    ),
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Look it up first."},
                    {"role": "assistant", "channel": "commentary", "content": "I will look it up."},
                    {"role": "assistant", "channel": "final", "content": RIGHT},
                ]
            }
        ],
    ),
]
_ROWS = [asked_row(f"q{number}", f"a{number}") for number in range(5)]
LISTS = [
    Case("second list", "alpaca", json.dumps({"train": _ROWS[:3], "validation": _ROWS[3:]}), "rows.json"),
    Case("second list", "alpaca", json.dumps({"train": _ROWS[:3], "test": _ROWS[3:]}, indent=1), "rows.json"),
    Case(
        "second list",
        "openai",
        json.dumps({"train": [chat("q1", "a1")], "valid": [chat("q2", "a2")], "test": [chat("q3", "a3")]}),
        "rows.json",
    ),
]
