"""The page in a real browser: at two widths, light and dark, read with pointer and keys, without a network."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lfwrap.report.page import render_page
from lfwrap.report.run_report import describe_run

pytestmark = pytest.mark.browser


@pytest.fixture
def page(make_run, tmp_path: Path) -> Path:
    runs = [make_run("20261122T010203Z-law-0a1b2c3d", steps=400), make_run("20261122T020203Z-law-b-1a1b2c3d")]
    path = tmp_path / "page.html"
    path.write_text(render_page([describe_run(run) for run in runs]), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows_or_overlaps(browser, show, page, width):
    show(page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    plots = browser.find_elements("css selector", ".plot")
    assert len(plots) == 2
    for plot in plots:
        assert plot.size["width"] > 0.7 * min(width, 1000)
        assert plot.size["height"] >= 150
        for axis, side in (("x", "left"), ("y", "top")):
            labels = [each for each in plot.find_elements("css selector", f".{axis}") if each.is_displayed()]
            assert len(labels) >= 2
            boxes = sorted((each.rect for each in labels), key=lambda box: box["x" if side == "left" else "y"])
            for before, after in itertools.pairwise(boxes):
                if side == "left":
                    assert before["x"] + before["width"] <= after["x"]
                else:
                    assert before["y"] + before["height"] <= after["y"]


def test_the_curves_are_drawn_within_their_plot(browser, show, page):
    show(page, 1280)
    for plot in browser.find_elements("css selector", ".plot"):
        box = plot.rect
        for path in plot.find_elements("css selector", "path"):
            drawn = path.rect
            assert drawn["width"] > 0.05 * box["width"]
            assert box["x"] - 2 <= drawn["x"]
            assert drawn["x"] + drawn["width"] <= box["x"] + box["width"] + 2
            assert box["y"] - 2 <= drawn["y"]
            assert drawn["y"] + drawn["height"] <= box["y"] + box["height"] + 2


def test_values_are_read_with_pointer_and_keys(browser, show, page):
    from selenium.webdriver import ActionChains, Keys

    show(page, 1280)
    figure = browser.find_element("css selector", "figure")
    plot, readout = (figure.find_element("css selector", name) for name in (".plot", ".readout"))
    assert readout.text == ""
    ActionChains(browser).move_to_element(plot).perform()
    assert "law 0.0" in readout.text
    browser.execute_script("arguments[0].focus()", plot)
    plot.send_keys(Keys.HOME)
    assert readout.text.startswith("step 1: law 2.0000 · law, evaluation 0.3000 (step 10) · law-b 2.0000")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert readout.text.startswith("step 2: law 1.0000")
    plot.send_keys(Keys.END)
    assert readout.text.startswith("step 400: ")


def test_light_and_dark_differ_and_can_be_read(browser, show, page):
    seen = set()
    for scheme in ("light", "dark"):
        show(page, 1280, scheme)
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map("
            "c => c.match(/[0-9]+/g).slice(0, 3).map(Number))"
        )
        seen.add(str(colours))
        text, ground = (sum(colour) for colour in colours)
        assert abs(text - ground) > 400
    assert len(seen) == 2


def test_no_network_and_no_complaints(browser, show, page):
    browser.get_log("browser"), browser.get_log("performance")
    show(page, 1280)
    for summary in browser.find_elements("css selector", "summary"):
        summary.click()
    assert "learning_rate: 0.001" in browser.find_element("css selector", "main").text
    assert browser.get_log("browser") == []
    sent = [entry["message"] for entry in browser.get_log("performance") if 'requestWillBeSent"' in entry["message"]]
    assert sent
    assert all("file://" in message or '"url":"data:' in message for message in sent)
