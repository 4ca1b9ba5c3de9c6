"""The page of a report in a real browser: Chromium without a screen, driven by selenium."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from adaptive_bench.analysis import read, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.analysis.conftest import Results

pytestmark = pytest.mark.slow

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
By = pytest.importorskip("selenium.webdriver.common.by").By


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("no Chromium with its driver is installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(results_in: Callable[[Path], Results], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two workloads, an arm with a long name among thirteen, one that diverged and one that failed."""
    results = results_in(tmp_path_factory.mktemp("report"))
    for dataset in ("digits", "cifar10"):
        for seed in range(3):
            for at in range(13):
                name = f"arm{at}" if at else "fixed_small"
                name = "a_very_long_name_of_an_arm_without_a_place_to_break_it" if at == 12 else name
                end = 1000 + 40 * at + 7 * seed * at
                results.add(
                    name, dataset=dataset, seed=seed, curve=[(0, 10), (end, 90)], final=90 + seed / 10 - at / 5, size=32 + at,
                    scheduler=f"rule{at // 4}" if at else "fixed",
                )  # fmt: skip
    results.add_diverged("deba", seed=0)
    results.add_unfinished("failing", seed=1, status="failed", reason="out of memory")
    return report(read(results.folder), results.folder / "report.html").as_uri()


@pytest.fixture
def at_width(browser: Any, page: str) -> Callable[[int], Any]:
    def opened(width: int) -> Any:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        browser.get(page)
        return browser

    return opened


def _shown(table: Any) -> list[str]:
    return [cell.text.strip() for cell in table.find_elements(By.CSS_SELECTOR, "thead th") if cell.is_displayed()]


def _column(table: Any, name: str) -> list[str]:
    if name == "arm":
        return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody th")]
    return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, f'tbody td[data-name="{name}"]')]


def test_it_sorts_by_numbers_both_ways_and_leaves_unknown_ones_last(at_width: Callable[[int], Any]) -> None:
    table = at_width(1300).find_element(By.ID, "w1-table")
    button = table.find_element(By.XPATH, './/button[text()="test accuracy (%)"]')
    button.click()
    rising = [text for text in _column(table, "test accuracy (%)") if text != "-"]
    assert rising == sorted(rising, key=lambda text: float(text.split()[0]))
    assert len(set(rising)) > 5
    unknown = [text == "-" for text in _column(table, "test accuracy (%)")]
    assert any(unknown)
    assert unknown == sorted(unknown)
    button.click()
    assert [text for text in _column(table, "test accuracy (%)") if text != "-"] == sorted(
        rising, key=lambda text: -float(text.split()[0])
    )
    assert [text == "-" for text in _column(table, "test accuracy (%)")] == unknown
    table.find_element(By.XPATH, './/button[text()="arm"]').click()
    names = _column(table, "arm")
    assert names.index("arm9") < names.index("arm10")


def test_it_hides_and_shows_columns(at_width: Callable[[int], Any]) -> None:
    browser = at_width(1300)
    table = browser.find_element(By.ID, "w0-table")
    boxes = {box.get_attribute("value"): box for box in browser.find_elements(By.CSS_SELECTOR, '[data-table="w0-table"] input')}
    assert "samples to target" not in _shown(table)
    boxes["cost"].click()
    assert "samples to target" in _shown(table)
    assert "verdict" in _shown(table)
    boxes["verdict"].click()
    assert "verdict" not in _shown(table)
    assert "arm" in _shown(table)


def test_a_number_leads_to_its_runs_with_settings_and_curves(at_width: Callable[[int], Any]) -> None:
    browser = at_width(1300)
    cell = browser.find_element(By.CSS_SELECTOR, '#w0-table tbody tr:nth-child(3) td[data-name="verdict"] a')
    fold = browser.find_element(By.ID, cell.get_attribute("href").partition("#")[2])
    assert fold.get_attribute("open") is None
    cell.click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert fold.get_attribute("open") is not None
    label = browser.find_element(By.CSS_SELECTOR, "#w0-table tbody tr:nth-child(3) th").text
    assert label in fold.find_element(By.TAG_NAME, "summary").text
    assert len(fold.find_elements(By.CSS_SELECTOR, 'svg[aria-label="validation against samples"] polyline')) == 3
    assert "scheduler.initial" in fold.find_element(By.TAG_NAME, "pre").text
    fold.find_element(By.LINK_TEXT, "Settings that all runs share").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert "dataset.train_size: 1000" in browser.find_element(By.ID, "w0-shared").text


@pytest.mark.parametrize("width", [390, 800, 1300])
def test_nothing_is_cut_off(at_width: Callable[[int], Any], width: int) -> None:
    browser = at_width(width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # with every column shown, and every fold open: what is wider than the page scrolls, or is a card
    browser.execute_script("document.querySelectorAll('.toggles input:not(:checked)').forEach(box => box.click())")
    browser.execute_script("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll') && !e.closest('svg')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    if width == 390:
        wide = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert browser.execute_script(wide) == 0


def test_no_request_and_no_error(at_width: Callable[[int], Any]) -> None:
    browser = at_width(1300)
    for log in ("browser", "performance"):
        browser.get_log(log)  # drops what the start of the browser left there
    at_width(1300)
    for box in browser.find_elements(By.CSS_SELECTOR, ".toggles input"):
        box.click()
    for button in browser.find_elements(By.CSS_SELECTOR, "#w0-table thead button"):
        if button.is_displayed():
            button.click()
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"].partition(":")[0] for event in events if event["method"] == "Network.requestWillBeSent"
    }
    assert "file" in asked  # the page itself, so the log works
    assert asked <= {"file", "data", "about"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_figures_can_be_read_in_light_and_dark(at_width: Callable[[int], Any], browser: Any, scheme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    at_width(1300)
    colors = browser.execute_script(
        "const of = e => getComputedStyle(e); const text = document.querySelector('.figures svg text');"
        "return [of(document.body).backgroundColor, of(document.body).color, of(text).fill,"
        " ...[...document.querySelectorAll('.legend line')].map(e => of(e).stroke)]"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    back, text, figure, *arms = map(_luminance, colors)
    assert (back > 0.5) == (scheme == "light")
    assert min(_contrast(back, text), _contrast(back, figure)) >= 7
    assert min(_contrast(back, arm) for arm in arms) >= 3


def test_paper_has_every_column_and_no_hidden_cell(at_width: Callable[[int], Any], browser: Any) -> None:
    at_width(800)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = [
        cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#w0-table tbody td.hidden") if not cell.is_displayed()
    ]
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == []
    assert width <= 800


def _luminance(color: str) -> float:
    """Relative luminance (WCAG 2) of an opaque rgb(...)."""
    parts = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    return sum(
        weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
        for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
    )


def _contrast(first: float, second: float) -> float:
    low, high = sorted((first, second))
    return (high + 0.05) / (low + 0.05)
