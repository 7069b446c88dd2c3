"""The page in a real browser: at two widths, light and dark, read with pointer and keys, without a network."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lfwrap.report.page import render_page
from lfwrap.report.run_report import describe_run

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
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
    service = webdriver.ChromeService(executable_path=driver)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.fixture
def page(make_run, tmp_path: Path) -> Path:
    runs = [make_run("20261122T010203Z-law-0a1b2c3d", steps=400), make_run("20261122T020203Z-law-b-1a1b2c3d")]
    path = tmp_path / "page.html"
    path.write_text(render_page([describe_run(run) for run in runs]), encoding="utf-8")
    return path


def show(browser: Chrome, page: Path, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows_or_overlaps(browser, page, width):
    show(browser, page, width)
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


def test_the_curves_are_drawn_within_their_plot(browser, page):
    show(browser, page, 1280)
    for plot in browser.find_elements("css selector", ".plot"):
        box = plot.rect
        for path in plot.find_elements("css selector", "path"):
            drawn = path.rect
            assert drawn["width"] > 0.05 * box["width"]
            assert box["x"] - 2 <= drawn["x"]
            assert drawn["x"] + drawn["width"] <= box["x"] + box["width"] + 2
            assert box["y"] - 2 <= drawn["y"]
            assert drawn["y"] + drawn["height"] <= box["y"] + box["height"] + 2


def test_values_are_read_with_pointer_and_keys(browser, page):
    from selenium.webdriver import ActionChains, Keys

    show(browser, page, 1280)
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


def test_light_and_dark_differ_and_can_be_read(browser, page):
    seen = set()
    for scheme in ("light", "dark"):
        show(browser, page, 1280, scheme)
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map("
            "c => c.match(/[0-9]+/g).slice(0, 3).map(Number))"
        )
        seen.add(str(colours))
        text, ground = (sum(colour) for colour in colours)
        assert abs(text - ground) > 400
    assert len(seen) == 2


def test_no_network_and_no_complaints(browser, page):
    browser.get_log("browser"), browser.get_log("performance")
    show(browser, page, 1280)
    for summary in browser.find_elements("css selector", "summary"):
        summary.click()
    assert "learning_rate: 0.001" in browser.find_element("css selector", "main").text
    assert browser.get_log("browser") == []
    sent = [entry["message"] for entry in browser.get_log("performance") if 'requestWillBeSent"' in entry["message"]]
    assert sent
    assert all("file://" in message or '"url":"data:' in message for message in sent)
