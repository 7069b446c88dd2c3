"""The comparison in a real browser: two widths, light and dark, searched, narrowed and sorted, without a network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lfwrap.report.comparison import render_html

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
LONG = "Donaudampfschifffahrtsgesellschaft" * 12
ANSWERS = [  # question, reference, base and its chrF, tuned and its chrF
    ("What is a lien?", "A claim.", ("Money", 5.0), ("A claim on property", 60.0)),
    ("羊驼是什么？", "哺乳动物。", ("same", 40.0), ("same", 40.0)),
    ("<b>markup</b> & more", "None.", ("None", 90.0), (LONG, 10.0)),
    ("No reference", None, ("x", None), ("y\nz", None)),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("LFWRAP_REQUIRE_BROWSER"):
            pytest.fail("chromium and chromedriver are needed")
        pytest.skip("no chromium here")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield found
    found.quit()


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
         "all_same": base[0] == tuned[0], "answers": {"base": cell(*base), "tuned": cell(*tuned)}}
        for number, (question, reference, base, tuned) in enumerate(ANSWERS)
    ]  # fmt: skip
    settings = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 42}
    report = {"created_at": "2026-01-01T00:00:00.000Z", "source": "q.jsonl", "questions": 4, "settings": settings,
              "must_contain": ["x"], "judge": None, "baseline": "base", "targets": [column("base"), column("tuned")],
              "rows": rows}  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(report), encoding="utf-8")
    return path


def show(browser: Chrome, page: Path, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(page.as_uri())


def shown(browser: Chrome) -> list[int]:
    """The numbers of the questions that can be seen, from the top."""
    script = """return [...document.querySelectorAll('.question')].filter(each => each.offsetParent !== null)
                .map(each => Number(each.querySelector('.id').textContent))"""
    return browser.execute_script(script)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_over_and_everything_is_legible(browser, page, width, scheme):
    show(browser, page, width, scheme)
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


def test_answers_stand_side_by_side_where_there_is_room_and_below_each_other_where_not(browser, page):
    tops = "return [...document.querySelector('.answers').children].map(each => each.getBoundingClientRect().top)"
    show(browser, page, 1280)
    assert len(set(browser.execute_script(tops))) == 1
    show(browser, page, 360)
    assert len(set(browser.execute_script(tops))) == 3


def test_search_narrows_down(browser, page):
    show(browser, page, 1280)
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


def test_only_differences_leaves_out_what_is_the_same(browser, page):
    show(browser, page, 360)
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
        ("longest answers first", [3, 1, 2, 4]),
        ("in the file's order", [1, 2, 3, 4]),
    ],
)
def test_sorting(browser, page, text, order):
    show(browser, page, 1280)
    select = browser.find_element("id", "order")
    next(each for each in select.find_elements("tag name", "option") if each.text == text).click()
    assert shown(browser) == order


def test_the_page_needs_nobody_and_complains_about_nothing(browser, page):
    browser.get_log("performance")
    show(browser, page, 1280)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert browser.find_elements("css selector", ".question h2 b") == []
