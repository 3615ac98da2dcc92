"""Films in the browser that people have: they play there, also those whose writer was killed."""

from __future__ import annotations

import functools
import http.server
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_films import killed_film

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

PLAY = """async () => {
    const video = document.querySelector("video");
    await video.play();
    await new Promise((resolve, reject) => { video.onended = resolve; video.onerror = () => reject(video.error.message); });
    return [video.currentTime, video.videoWidth, video.videoHeight];
}"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of the test's folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_film_whose_writer_was_killed_plays_to_its_end(tmp_path: Path, address: str) -> None:
    given = killed_film(tmp_path / "film.mp4", signal.SIGKILL)
    (tmp_path / "page.html").write_text('<video src="film.mp4" muted controls></video>')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{address}/page.html", timeout=120_000)
        seconds, width, height = page.evaluate(PLAY)
        browser.close()
    assert (width, height) == (96, 64)
    assert given / 30 - 2 <= seconds <= given / 30 + 10
