"""The comparison in a real browser: two widths, light and dark, searched, narrowed and sorted, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lfwrap.report.comparison import render_html

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser
CALL = {"name": "add", "arguments": {"a": 1, "b": {"c": "羊"}}}
LONG = "Donaudampfschifffahrtsgesellschaft" * 12
ANSWERS = [  # question, reference, base and its chrF, tuned and its chrF
    ("What is a lien?", "A claim.", ("Money", 5.0), ("A claim on property", 60.0)),
    ("羊驼是什么？", "哺乳动物。", ("same", 40.0), ("same", 40.0)),
    ("<b>markup</b> & more", "None.", ("None", 90.0), (LONG, 10.0)),
    ("No reference", None, ("x", None), ("y\nz" * 200, None)),
]


def cell(text: str, chrf: float | None) -> dict[str, Any]:
    scores = {"chrf": chrf, "rouge1": chrf, "rouge2": chrf, "rougeL": chrf} if chrf is not None else None
    return {"text": text, "calls": [], "finish": "stop", "prompt_tokens": 3, "answer_tokens": len(text), "seconds": 0.2,
            "characters": len(text), "scores": scores, "missing_keywords": ["x"], "verdict": None}  # fmt: skip


def column(name: str) -> dict[str, Any]:
    summary = {"mean_answer_tokens": 5.0, "median_answer_tokens": 5, "cut_at_limit": 0, "seconds": 0.8,
               "tokens_per_s": 20.0, "same_as_baseline": 1, "keywords": {"passed": 0, "checked": 4}, "verdicts": None,
               "scores": {"chrf": 45.0, "rouge1": 4.0, "rouge2": 4.0, "rougeL": 4.0}}  # fmt: skip
    return {"name": name, "kind": "adapter", "base_model": "m", "adapter": f"/long/{LONG}", "template": "qwen",
            "run": None, "quantization": None, "device": "cpu", "dtype": "float32", "summary": summary}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"id": number, "question": question, "history": [], "system": None, "reference": reference, "must_contain": [],
         "all_same": base[0] == tuned[0],
         "answers": {"base": cell(*base), "tuned": cell(*tuned) | {"calls": [CALL] if number == 2 else []}}}
        for number, (question, reference, base, tuned) in enumerate(ANSWERS)
    ]  # fmt: skip
    settings = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 42}
    report = {"created_at": "2026-01-01T00:00:00.000Z", "source": "q.jsonl", "questions": 4, "settings": settings,
              "must_contain": ["x"], "judge": None, "baseline": "base", "targets": [column("base"), column("tuned")],
              "rows": rows}  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(report), encoding="utf-8")
    return path


def shown(browser: Chrome) -> list[int]:
    """The numbers of the questions that can be seen, from the top."""
    script = """return [...document.querySelectorAll('.question')].filter(each => each.offsetParent !== null)
                .map(each => Number(each.querySelector('.id').textContent))"""
    return browser.execute_script(script)


def choose(browser: Chrome, name: str, text: str) -> None:
    """Take one of the choices in a list."""
    options = browser.find_element("id", name).find_elements("tag name", "option")
    next(each for each in options if each.text == text).click()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_over_and_everything_is_legible(browser, show, page, width, scheme):
    show(page, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    over = """return [...document.querySelectorAll('.answer, .controls > *, td, h1, h2')].filter(each => {
        const box = each.getBoundingClientRect(); return box.width && (box.left < -1 || box.right > innerWidth + 1)
    }).length"""
    assert browser.execute_script(over) == 0
    colours = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    bright = [sum(map(int, colour.strip("rgb()").split(","))) / 3 for colour in colours]
    assert (bright[0] > bright[1]) is (scheme == "dark")
    assert abs(bright[0] - bright[1]) > 150


def test_answers_stand_side_by_side_where_there_is_room_and_below_each_other_where_not(browser, show, page):
    tops = "return [...document.querySelector('.answers').children].map(each => each.getBoundingClientRect().top)"
    show(page, 1280)
    assert len(set(browser.execute_script(tops))) == 1
    show(page, 360)
    assert len(set(browser.execute_script(tops))) == 3


def test_search_narrows_down(browser, show, page):
    show(page, 1280)
    assert shown(browser) == [1, 2, 3, 4]
    box = browser.find_element("id", "search")
    box.send_keys("claim PROPERTY")
    assert shown(browser) == [1]
    assert browser.find_element("id", "shown").text == "1 of 4 shown"
    box.clear()
    box.send_keys("羊驼")
    assert shown(browser) == [2]
    box.clear()
    box.send_keys("nowhere to be found")
    assert shown(browser) == []


def test_only_differences_leaves_out_what_is_the_same(browser, show, page):
    show(page, 360)
    toggle = browser.find_element("id", "differing")
    toggle.click()
    assert shown(browser) == [1, 3, 4]
    toggle.click()
    assert shown(browser) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("answers furthest apart first", [3, 1, 2, 4]),
        ("lowest chrF of tuned first", [3, 2, 1, 4]),
        ("highest chrF of base first", [3, 2, 1, 4]),
        ("lowest chrF of base first", [1, 2, 3, 4]),
        ("longest answers first", [4, 3, 1, 2]),
        ("in the file's order", [1, 2, 3, 4]),
    ],
)
def test_sorting(browser, show, page, text, order):
    show(page, 1280)
    choose(browser, "order", text)
    assert shown(browser) == order


def test_the_page_needs_nobody_and_complains_about_nothing(browser, show, page):
    browser.get_log("performance")
    show(page, 1280)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert browser.find_elements("css selector", ".question h2 b") == []


MARKED = """return [...document.querySelectorAll('.question')].map(each =>
            [...each.querySelectorAll('mark')].map(mark => mark.textContent))"""


def test_what_another_answer_lacks_is_marked_and_the_text_stays_as_it_is(browser, show, page):
    show(page, 1280)
    before = [each.text for each in browser.find_elements("css selector", "[data-who]")]
    assert browser.execute_script(MARKED) == [["on property"], [], [], []]  # the reference's "A claim." is the measure
    choose(browser, "marks", "marked: not in tuned")
    assert browser.execute_script(MARKED) == [["."], [], [], []]
    choose(browser, "marks", "no differences marked")
    assert browser.execute_script(MARKED) == [[], [], [], []]
    assert [each.text for each in browser.find_elements("css selector", "[data-who]")] == before


def test_long_answers_show_their_beginning_and_all_of_it_when_asked_for_or_printed(browser, show, page):
    height = 'return document.querySelector(\'[data-place="3"] [data-who="1"]\').clientHeight'
    show(page, 1280)
    [button] = [each for each in browser.find_elements("css selector", ".more") if each.is_displayed()]
    assert (browser.execute_script(height) < 450, button.get_attribute("aria-expanded")) == (True, "false")
    button.click()
    assert (browser.execute_script(height) > 2000, button.text) == (True, "show less")
    button.click()
    assert browser.execute_script(height) < 450
    show(page, 1280, "dark", media="print")
    assert browser.execute_script(height) > 2000
    colours = browser.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


def test_a_call_stands_with_its_arguments_indented(browser, show, page):
    show(page, 360)
    [call] = browser.find_elements("css selector", ".call")
    assert call.text.splitlines() == ["add", "{", '  "a": 1,', '  "b": {', '    "c": "羊"', "  }", "}"]
