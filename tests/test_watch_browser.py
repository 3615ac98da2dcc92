"""The watch page in a real browser: what a viewer sees and does. Needs Chromium and Playwright."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from a3g.processes.watch_runs import FinishedRun
from tests.test_films import killed_film
from tests.test_watch import make_run
from tests.watching import PATIENCE_SECONDS, Page, PlayedPage, closing, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = [] if importlib.util.find_spec("playwright") else ["Playwright"]
MISSING += [] if CHROMIUM else ["Chromium"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 1000 * PATIENCE_SECONDS
PHONE, DESK = {"width": 400, "height": 800}, {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    from playwright.sync_api import sync_playwright

    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, viewport=DESK, timeout=PATIENCE_MS
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context
        context.close()


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedPage]:
    with closing(PlayedPage()) as page:
        yield page


class Tab:
    """A tab of the browser that notes what goes wrong in it."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(address)

    def wait(self, condition: str) -> None:
        # Playwright's own waiting evaluates text inside the page, which the page's policy forbids.
        wait_for(lambda: self.page.evaluate(condition))

    def fits(self) -> bool:
        """Whether nothing sticks out to the right."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def close(self) -> None:
        assert self.problems == []
        self.page.close()


def test_the_mosaic_moves_and_a_click_chooses_the_game(browser: BrowserContext, played: PlayedPage, tmp_path: Path) -> None:
    tab = Tab(browser, played.url)
    picture = "document.querySelector('#mosaic .tile:not([hidden]) canvas').toDataURL()"
    tab.wait("Number(document.getElementById('mosaic').dataset.pictures) > 2")
    before = tab.page.evaluate(picture)
    wait_for(lambda: tab.page.evaluate(picture) != before)
    tab.page.locator("#mosaic .tile:not([hidden])").nth(2).click()
    tab.wait("document.getElementById('focus-name').textContent === '1-3'")
    tab.wait("document.querySelectorAll('#actions .chosen').length === 1")
    tab.wait("document.getElementById('value').textContent !== ''")
    tab.page.screenshot(path=tmp_path / "live.png")
    assert tab.fits()
    tab.close()


def test_the_page_fits_a_phone(browser: BrowserContext, played: PlayedPage, tmp_path: Path) -> None:
    tab = Tab(browser, played.url)
    tab.page.set_viewport_size(PHONE)
    tab.wait("Number(document.getElementById('mosaic').dataset.pictures) > 1")
    for button in tab.page.locator("#tabs button:visible").all():
        button.click()
        assert tab.fits(), button.text_content()
        tab.page.screenshot(path=tmp_path / f"phone-{button.text_content()}.png", full_page=True)
    tab.close()


def test_the_keyboard_plays(browser: BrowserContext, played: PlayedPage, tmp_path: Path) -> None:
    tab = Tab(browser, f"{played.url}/#play")
    tab.page.select_option("#play-ghost", "none")
    tab.page.select_option("#play-stage", "1-1")
    tab.page.click("#play-start")
    tab.wait("document.getElementById('play-canvas').dataset.x !== undefined")
    tab.wait("document.getElementById('play-note').textContent.startsWith('Press a key')")
    begin = int(tab.page.locator("#play-canvas").get_attribute("data-x") or 0)
    tab.page.keyboard.down("ArrowRight")
    tab.wait(f"Number(document.getElementById('play-canvas').dataset.x) > {begin + 40}")
    tab.page.keyboard.up("ArrowRight")
    tab.wait("[...document.querySelectorAll('#play-figures dd')].some(each => / ms$/.test(each.textContent))")
    tab.page.screenshot(path=tmp_path / "play.png")
    tab.close()


def test_curves_grow_and_the_scorecard_shows(browser: BrowserContext, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    with closing(Page(FinishedRun(folder))) as page:
        tab = Tab(browser, f"{page.url}/#curves")
        points = "Number(document.querySelector('#charts canvas')?.dataset.points)"
        tab.wait(f"{points} === 5")
        with (folder / "metrics.csv").open("a", newline="") as file:
            csv.writer(file).writerows((1000 + i, 10 + i, "learn/entropy", 1.0) for i in range(4))
        tab.wait(f"{points} === 9")
        tab.page.screenshot(path=tmp_path / "curves.png")
        tab.page.click("text=Scorecard")
        tab.wait("document.querySelector('#score-grid .rate.full')?.textContent === '100%'")
        tab.page.click("text=Films")
        tab.wait("document.querySelectorAll('#film-list button').length === 1")
        tab.close()


def test_a_film_is_played_and_sought_in(browser: BrowserContext, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    (folder / "videos" / "best 1-1.mp4").unlink()
    killed_film(folder / "videos" / "killed 1-1.mp4", signal.SIGKILL)
    with closing(Page(FinishedRun(folder))) as page:
        tab = Tab(browser, f"{page.url}/#films")
        tab.wait("document.querySelectorAll('#film-list button').length === 1")
        tab.page.click("#film-list button")
        tab.wait("document.querySelector('#film').ended")
        end = tab.page.evaluate("document.querySelector('#film').currentTime")
        for place in (0.5, end - 0.5):
            tab.page.evaluate(f"document.querySelector('#film').currentTime = {place}")
            tab.wait("!document.querySelector('#film').seeking")
            assert abs(tab.page.evaluate("document.querySelector('#film').currentTime") - place) < 0.1
        tab.close()
