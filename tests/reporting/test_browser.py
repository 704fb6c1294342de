"""A report works in a real browser: from disk, in a sandboxed frame, and without its script."""

import base64
import html
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from cellmill.reporting import ImageSummary, Summary, render_report, render_summary
from cellmill.reporting.image_summary import CompartmentSummary
from cellmill.reporting.overlay import COLOURS

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is missing"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)


def start(profile, javascript=True):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not javascript:
        blocked = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", blocked)
    return webdriver.Chrome(options, Service(DRIVER))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page_path(make_subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "report of 'a' & b.html"
    path.write_text(render_report(make_subject()), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, page_path):
    browser.get_log("browser")
    browser.get(page_path.as_uri())
    wait(browser)
    yield browser
    assert browser.get_log("browser") == []


def wait(browser):
    ready = "return document.getElementById('frame').dataset.ready"
    WebDriverWait(browser, 15).until(lambda b: b.execute_script(ready) == "true")
    settled(browser)


def settled(browser):
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
    )


def pixels(browser, canvas="line-canvas"):
    """Return what a canvas shows, RGBA."""
    uri = browser.execute_script(f"return document.getElementById('{canvas}').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def coloured(browser, colour):
    shown = pixels(browser)
    return int(((shown[..., :3] == colour).all(axis=-1) & (shown[..., 3] > 200)).sum())


def element(browser, name):
    return browser.find_element(By.ID, name)


def zoom(browser):
    return int(element(browser, "zoom").text.split()[0])


def point_at(browser, label, click=False):
    """Move the pointer to the middle of a cell, by what the page itself says of its view."""
    frame = element(browser, "frame")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    for _ in range(3):  # so far in that no cell is held off the middle by the image's edge
        element(browser, "zoom-in").click()
    element(browser, "find").clear()
    element(browser, "find").send_keys(str(label), Keys.ENTER)
    settled(browser)
    actions = ActionChains(browser).move_to_element(frame)
    (actions.click() if click else actions).perform()
    settled(browser)


def test_it_shows_image_and_outlines(page):
    assert element(page, "base-canvas").is_displayed()
    assert coloured(page, COLOURS["nuclear"]) > 500
    assert pixels(page, "base-canvas")[..., :3].std() > 20
    assert not element(page, "base-image").is_displayed()


def test_the_switches_switch(page):
    truth = (190, 255, 90)
    before = coloured(page, COLOURS["nuclear"])
    assert coloured(page, truth) == 0
    element(page, "show-truth-nuclear").click()
    settled(page)
    assert coloured(page, truth) > 100
    element(page, "show-nuclear").click()
    settled(page)
    assert coloured(page, COLOURS["nuclear"]) == 0
    element(page, "show-truth-nuclear").click()
    element(page, "show-nuclear").click()
    settled(page)
    assert coloured(page, COLOURS["nuclear"]) == before


def test_pointing_at_a_cell_tells_its_measurements(page, make_subject):
    table = make_subject().measurements["nuclear"]
    point_at(page, 20)
    element(page, "unpin").click()
    ActionChains(page).move_to_element(element(page, "frame")).perform()
    settled(page)
    tip = element(page, "tip")
    assert tip.is_displayed()
    row = int(np.flatnonzero(table["label"] == 20)[0])
    assert "Nucleus 20" in tip.text
    area = float(re.search(r"Area\s+([\d.]+) µm²", tip.text)[1])
    assert area == pytest.approx(table["area_um2"][row], abs=0.051)
    panel = element(page, "cell").text
    assert "Mean DAPI" in panel
    assert "Eccentricity" in panel
    assert "IoU with truth" in panel
    ActionChains(page).move_to_element(element(page, "brightness")).perform()
    settled(page)
    assert not tip.is_displayed()


def test_a_click_pins_a_cell_until_it_is_let_go(page):
    point_at(page, 20)
    element(page, "unpin").click()
    ActionChains(page).move_to_element(element(page, "frame")).click().perform()
    ActionChains(page).move_to_element(element(page, "brightness")).perform()
    settled(page)
    assert "Nucleus 20" in element(page, "cell").text
    element(page, "frame").send_keys(Keys.ESCAPE)
    settled(page)
    assert "Nucleus" not in element(page, "cell").text


def test_zooming_by_button_wheel_and_keyboard(page):
    frame = element(page, "frame")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    whole = zoom(page)
    element(page, "zoom-in").click()
    settled(page)
    assert zoom(page) == pytest.approx(whole * 1.5, abs=2)
    wheel = ActionChains(page).scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(frame), 0, -300
    )
    wheel.perform()
    settled(page)
    assert zoom(page) > whole * 2
    frame.send_keys("1")
    settled(page)
    assert zoom(page) == 100 or zoom(page) == whole
    frame.send_keys("0")
    settled(page)
    assert zoom(page) == whole
    frame.send_keys("+", "+", "-")
    settled(page)
    assert zoom(page) == pytest.approx(whole * 1.5, abs=2)


def test_dragging_and_arrows_pan(page):
    frame = element(page, "frame")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    for _ in range(4):
        element(page, "zoom-in").click()
    settled(page)
    first = pixels(page)
    ActionChains(page).drag_and_drop_by_offset(frame, 50, 0).perform()
    settled(page)
    dragged = pixels(page)
    assert np.array_equal(dragged[:, 60:700], first[:, 10:650])
    frame.send_keys(Keys.ARROW_RIGHT)
    settled(page)
    assert np.array_equal(pixels(page)[:, 10:650], dragged[:, 70:710])
    assert "Nucleus" not in element(page, "cell").text  # a drag is no click


def test_outlines_are_as_thin_at_every_zoom(page):
    def widest_run(shown):
        on = (shown[..., 3] > 200).astype(int)
        runs = np.diff(np.flatnonzero(np.diff(np.pad(on, ((0, 0), (1, 1)))).reshape(-1)))[::2]
        return np.median(runs)

    for _ in range(6):
        element(page, "zoom-in").click()
    settled(page)
    assert widest_run(pixels(page)) <= 3


def test_the_scale_bar_is_as_long_as_it_says(page):
    bar = element(page, "scale-line").size["width"]
    microns = float(element(page, "scale-text").text.split()[0])
    shown = page.execute_script("return document.getElementById('scale-line').style.width")
    assert bar == pytest.approx(microns / 0.5 * zoom(page) / 100, rel=0.03)
    assert float(shown[:-2]) == pytest.approx(bar, abs=1)


def test_it_works_in_a_sandboxed_frame(browser, page_path, tmp_path):
    inner = html.escape(page_path.read_text(encoding="utf-8"), quote=True)
    outer = tmp_path / "frame.html"
    outer.write_text(
        "<!doctype html><meta charset=utf-8><iframe sandbox='allow-scripts' "
        f'style="width:1200px;height:900px" srcdoc="{inner}"></iframe>',
        encoding="utf-8",
    )
    browser.get_log("browser")
    browser.get(outer.as_uri())
    browser.switch_to.frame(0)
    wait(browser)
    assert coloured(browser, COLOURS["nuclear"]) > 500
    element(browser, "show-nuclear").click()
    settled(browser)
    assert coloured(browser, COLOURS["nuclear"]) == 0
    element(browser, "show-nuclear").click()
    point_at(browser, 7)
    assert "Nucleus 7" in element(browser, "cell").text
    browser.switch_to.default_content()
    assert browser.get_log("browser") == []


def test_without_its_script_it_shows_the_overlay(page_path, tmp_path):
    browser = start(tmp_path, javascript=False)
    try:
        browser.get(page_path.as_uri())
        image, lines = element(browser, "base-image"), element(browser, "lines-nuclear")
        assert image.is_displayed()
        assert lines.is_displayed()
        assert not element(browser, "lines-truth-nuclear").is_displayed()
        assert not element(browser, "zoom-in").is_displayed()
        shown = np.asarray(Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB")).astype(
            int
        )
        cyan = (shown[..., 2] - shown[..., 0] > 90).sum()
        assert cyan > 1000
        element(browser, "show-nuclear").click()
        shown = np.asarray(Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB")).astype(
            int
        )
        assert (shown[..., 2] - shown[..., 0] > 90).sum() < cyan / 20
    finally:
        browser.quit()


def test_a_channel_can_be_switched_off_in_a_composite(browser, make_subject, tmp_path):
    path = tmp_path / "two.html"
    path.write_text(
        render_report(make_subject(both=True, channels=("DAPI", "membrane"))), encoding="utf-8"
    )
    browser.get_log("browser")
    browser.get(path.as_uri())
    wait(browser)
    both = pixels(browser, "base-canvas").astype(int)
    assert both[..., 0].max() > 200
    assert both[..., 1].max() > 200
    element(browser, "channel-0").click()
    settled(browser)
    green = pixels(browser, "base-canvas").astype(int)
    assert green[..., 0].max() == green[..., 2].max() == 0
    assert np.array_equal(green[..., 1], both[..., 1])
    point_at(browser, 20)
    assert "Nucleus" in element(browser, "tip").text or "Cell" in element(browser, "tip").text
    assert coloured(browser, COLOURS["whole_cell"]) > 100
    assert browser.get_log("browser") == []


def test_a_measured_channel_is_added_in_a_colour_of_its_own(browser, make_subject, tmp_path):
    path = tmp_path / "three.html"
    subject = make_subject(both=True, channels=("DAPI", "membrane", "CD8"))
    path.write_text(render_report(subject), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    wait(browser)
    without = pixels(browser, "base-canvas").astype(int)
    for switch in ("channel-0", "channel-1", "more-2"):
        element(browser, switch).click()
    settled(browser)
    cyan = pixels(browser, "base-canvas").astype(int)
    assert cyan[..., 0].max() == 0
    assert np.array_equal(cyan[..., 1], cyan[..., 2])
    assert cyan[..., 1].max() > 200
    element(browser, "more-2").click()
    settled(browser)
    for switch in ("channel-0", "channel-1"):
        element(browser, switch).click()
    settled(browser)
    assert np.array_equal(pixels(browser, "base-canvas"), without)
    assert browser.get_log("browser") == []


def test_fifty_thousand_cells_are_pointed_at_without_delay(browser, make_subject, tmp_path):
    side = 225
    y, x = np.mgrid[: side * 12, : side * 12]
    labels = np.where((y % 12 < 9) & (x % 12 < 9), (y // 12) * side + x // 12 + 1, 0)
    labels = labels.astype(np.int32)
    count = side * side
    rng = np.random.default_rng(0)
    table = {"label": np.arange(1, count + 1), "area_px": np.full(count, 81)}
    table |= {f"mean_c{i}": rng.random(count) for i in range(12)}
    subject = make_subject(
        truth=False,
        image=rng.integers(0, 255, (*labels.shape, 1), np.uint8),
        labels={"nuclear": labels},
        measurements={"nuclear": table},
        mpp=None,
    )
    path = tmp_path / "many.html"
    path.write_text(render_report(subject), encoding="utf-8")
    assert path.stat().st_size < 25e6
    browser.get_log("browser")
    browser.get(path.as_uri())
    wait(browser)
    point_at(browser, 50000)
    assert "Nucleus 50,000" in element(browser, "cell").text.replace("50000", "50,000")
    took = browser.execute_script(
        """
        const frame = document.getElementById("frame"), box = frame.getBoundingClientRect();
        const begin = performance.now();
        for (let i = 0; i < 200; i += 1) {
          frame.dispatchEvent(new PointerEvent("pointermove", {
            clientX: box.left + 100 + i, clientY: box.top + 100 + i, bubbles: true }));
        }
        return (performance.now() - begin) / 200;
        """
    )
    assert took < 16
    assert browser.get_log("browser") == []


def test_the_summary_is_sorted_by_its_heads(browser, tmp_path):
    images = [
        ImageSummary(name, compartments={"nuclear": CompartmentSummary(count=n)})
        for name, n in (("b10", 9), ("b9", 1000), ("a", 20))
    ]
    images.append(ImageSummary("broken", error="no such file"))
    path = tmp_path / "summary.html"
    path.write_text(render_summary(Summary(images, [])), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())

    def names():
        rows = browser.find_elements(By.CSS_SELECTOR, "#images tbody tr")
        return [row.find_element(By.TAG_NAME, "td").text for row in rows]

    heads = browser.find_elements(By.CSS_SELECTOR, "#images th button")
    assert names() == ["b10", "b9", "a", "broken"]
    heads[2].click()
    assert names() == ["b10", "a", "b9", "broken"]
    heads[2].click()
    assert names() == ["b9", "a", "b10", "broken"]
    heads[0].click()
    assert names() == ["a", "b9", "b10", "broken"]
    head = browser.find_element(By.CSS_SELECTOR, "#images th[aria-sort]")
    assert head.get_attribute("aria-sort") == "ascending"
    assert browser.get_log("browser") == []
