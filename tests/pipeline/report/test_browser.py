"""The report as a browser shows it: nothing fails, nothing is fetched, and what can be pressed does something."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
)
DESKTOP, PHONE = (1280, 900), (390, 844)
PATIENCE_S = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--enable-unsafe-swiftshader",
        "--disable-background-networking",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(DRIVER))
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Chrome, reported: Path) -> Chrome:
    """The report at desktop width, drawn; not anew for every test, for that takes seconds."""
    page = (reported / "run" / "report.html").as_uri()
    if browser.current_url != page or browser.execute_script("return innerWidth") != DESKTOP[0]:
        show(browser, reported / "run" / "report.html", DESKTOP)
    return browser


def show(browser: Chrome, page: Path, size: tuple[int, int], *, phone: bool = False) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    wait(browser, "return document.documentElement.dataset.drawn")


def wait(browser: Chrome, script: str, *arguments: object) -> None:
    WebDriverWait(browser, PATIENCE_S).until(lambda chrome: chrome.execute_script(script, *arguments))


def cloud_of(browser: Chrome) -> WebElement:
    """The point cloud, in sight and drawn."""
    cloud = browser.find_element(By.ID, "cloud")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cloud)
    wait(browser, "return document.getElementById('cloud').dataset.drawn")
    return cloud


def pixels(element: WebElement) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)


def changed(element: WebElement, before: np.ndarray) -> bool:
    """Whether another picture is shown, and not only a few pixels of it."""
    return bool((np.abs(pixels(element) - before).sum(axis=-1) > 60).mean() > 0.01)


def test_nothing_fails_and_nothing_is_fetched(browser: Chrome, reported: Path) -> None:
    show(browser, reported / "run" / "report.html", DESKTOP)
    cloud_of(browser)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    page = (reported / "run" / "report.html").as_uri()
    assert page in asked, "requests are seen"
    assert [url for url in asked if url != page and not url.startswith(("data:", "blob:"))] == []


def test_a_name_with_a_script_in_it_is_text(opened: Chrome) -> None:
    assert opened.title == "run"
    headings = [heading.text for heading in opened.find_elements(By.CSS_SELECTOR, "#rigs h3")]
    assert any("<script>document.title" in heading for heading in headings)


def test_tables_are_sorted_by_a_press_on_a_heading(opened: Chrome) -> None:
    table = opened.find_element(By.CSS_SELECTOR, "#scores table")
    heading = table.find_element(By.CSS_SELECTOR, "th:nth-child(2)")
    button = heading.find_element(By.TAG_NAME, "button")
    as_it_came = column(table)
    orders = []
    for press in (button.click, lambda: button.send_keys(Keys.ENTER), lambda: button.send_keys(Keys.SPACE)):
        press()
        orders.append((heading.get_attribute("aria-sort"), column(table)))
    assert orders == [
        ("ascending", sorted(as_it_came)),
        ("descending", sorted(as_it_came, reverse=True)),
        ("none", as_it_came),
    ]
    assert sorted(as_it_came) != as_it_came


def column(table: WebElement) -> list[float]:
    cells = table.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(2)")
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells]


def test_every_chart_is_drawn_and_another_metric_can_be_chosen(opened: Chrome) -> None:
    for name in ("by-camera", "by-depth", "training-curves", "bin-centres"):
        assert opened.find_elements(By.CSS_SELECTOR, f"#{name} svg .trace, #{name} svg .plot path"), name
    chart = opened.find_element(By.ID, "by-camera")
    select = Select(opened.find_element(By.CSS_SELECTOR, "select[data-chart=by-camera]"))
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    before = pixels(chart)
    select.select_by_visible_text("δ1 at LiDAR points")
    WebDriverWait(opened, PATIENCE_S).until(lambda _: changed(chart, before))
    assert "δ1, more is better" in chart.text


def test_the_point_cloud_is_drawn_and_turned_with_the_mouse(opened: Chrome) -> None:
    cloud = cloud_of(opened)
    WebDriverWait(opened, PATIENCE_S).until(lambda _: len(np.unique(pixels(cloud).reshape(-1, 3), axis=0)) > 50)
    before = pixels(cloud)
    ActionChains(opened).drag_and_drop_by_offset(cloud, 160, 20).perform()
    WebDriverWait(opened, PATIENCE_S).until(lambda _: changed(cloud, before))


@pytest.mark.parametrize("key", [Keys.ARROW_LEFT, Keys.ARROW_UP, "+"])
def test_the_point_cloud_is_turned_with_the_keyboard(opened: Chrome, key: str) -> None:
    cloud = cloud_of(opened)
    before = pixels(cloud)
    opened.execute_script("arguments[0].focus()", cloud)
    ActionChains(opened).send_keys(key).perform()
    WebDriverWait(opened, PATIENCE_S).until(lambda _: changed(cloud, before))


@pytest.mark.parametrize(("select", "choice"), [("cloud-subject", "LiDAR"), ("cloud-colour", "height")])
def test_other_points_and_colours_can_be_chosen(opened: Chrome, select: str, choice: str) -> None:
    cloud = cloud_of(opened)
    before = pixels(cloud)
    Select(opened.find_element(By.ID, select)).select_by_visible_text(choice)
    WebDriverWait(opened, PATIENCE_S).until(lambda _: changed(cloud, before))


def test_errors_are_shown_instead_of_depths(opened: Chrome) -> None:
    panel = opened.find_element(By.CSS_SELECTOR, "#rigs .panel")
    depth, error = (panel.find_element(By.CSS_SELECTOR, f"img[alt='{kind} of student']") for kind in ("depth", "error"))
    assert (depth.is_displayed(), error.is_displayed()) == (True, False)
    panel.find_element(By.CSS_SELECTOR, "label[for$=lidar]").click()
    assert (depth.is_displayed(), error.is_displayed()) == (False, True)


def test_on_a_phone_the_page_is_as_wide_as_the_screen(browser: Chrome, reported: Path) -> None:
    show(browser, reported / "run" / "report.html", PHONE, phone=True)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    cloud = cloud_of(browser)
    assert 0 < cloud.size["width"] <= PHONE[0]


def test_dark_and_light_are_followed(browser: Chrome, reported: Path) -> None:
    seen = {}
    for scheme in ("dark", "light"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        show(browser, reported / "run" / "report.html", DESKTOP)
        browser.execute_script("scrollTo(0, document.getElementById('cameras').offsetTop)")
        chart = browser.find_element(By.ID, "by-camera")
        text = browser.find_element(By.CSS_SELECTOR, "#by-camera .xtick text").value_of_css_property("fill")
        seen[scheme] = (pixels(chart).mean(), text)
    assert seen["dark"][0] < 80
    assert seen["light"][0] > 200
    assert seen["dark"][1] != seen["light"][1]
