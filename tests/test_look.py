"""The report of a placement and the pages of the docs, as a browser shows them.

Looked for: errors of scripts, what is asked of the network, what is wider than the screen, text that is hard to read.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collage_jax import Placement
from collage_jax.report.html import to_html

driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[docs]'")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed: pip install '.[docs]'"
)

FIGURES = Path(__file__).parents[1] / "docs/figures"
LARGE = {"nasnet-a"}
NETWORKS = sorted(saved.stem for saved in FIGURES.glob("*.json"))
DIAGRAMS = sorted(drawn.stem for drawn in FIGURES.glob("*.svg"))
SCREENS = {"phone": (390, 844), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
#: By WCAG 2, for text of usual size.
CONTRAST = 4.5
#: What axe finds in pages that others' themes lay out, of all its rules.
RULES_OF_PAGES = ["color-contrast", "document-title", "html-has-lang", "image-alt", "link-name", "button-name"]

#: Text in drawings and what it stands on, with their contrast, where that is less than asked for.
HARD_TO_READ = """
least => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = colour => rgb(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const opaque = colour => colour.startsWith("rgb") && !/, 0\\)$/.test(colour);
  const fill = node => getComputedStyle(node).fill;
  const boxes = [...document.querySelectorAll("svg rect")].filter(box => opaque(fill(box)))
    .map(box => [box.getBoundingClientRect(), fill(box)]);
  const behind = node => {
    for (; node; node = node.parentElement)
      if (opaque(getComputedStyle(node).backgroundColor)) return getComputedStyle(node).backgroundColor;
    return matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(19, 20, 22)" : "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("svg text")].map(text => {
    const { left, right, top, bottom } = text.getBoundingClientRect(), x = (left + right) / 2, y = (top + bottom) / 2;
    const under = boxes.filter(([b]) => b.left <= x && x <= b.right && b.top <= y && y <= b.bottom);
    const paper = under.length ? under[under.length - 1][1] : behind(text);
    return [text.textContent, fill(text), paper, ratio(light(fill(text)), light(paper))];
  }).filter(found => found[3] < least);
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    installed = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    with driver.sync_playwright() as play:
        try:
            found = play.chromium.launch(executable_path=next(filter(None, installed), None), args=["--no-sandbox"])
        except driver.Error:
            pytest.skip("there is no browser: apt-get install chromium, or playwright install chromium")
        yield found
        found.close()


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of the site, for the pages' own search reads files by HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def opened(browser: Any, address: str, scheme: str = "light", **options: Any) -> Iterator[Any]:
    """The page at ``address``; afterwards nothing may have gone wrong in it, and nothing been asked of the network."""
    context = browser.new_context(color_scheme=scheme, **options)
    wrong: list[str] = []

    def own(request: Any) -> bool:
        return request.url.startswith(("file:", "data:", "http://127.0.0.1:"))

    context.on("request", lambda request: None if own(request) else wrong.append(request.url))
    context.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
    context.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    page = context.new_page()
    show_on(page, "desk")
    page.goto(address)
    yield page
    context.close()
    assert not wrong


def show_on(page: Any, screen: str) -> None:
    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})


def check_width(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def check_reading(page: Any, rules: list[str] | None = None) -> None:
    """axe finds nothing against its ``rules``, None for all, and text in drawings can be read."""
    options = {} if rules is None else {"runOnly": {"type": "rule", "values": rules}}
    found = axe.Axe().run(page, options=options)
    assert not found.violations_count, found.generate_report()
    assert not page.evaluate(HARD_TO_READ, CONTRAST)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("reports")

    def write(network: str) -> str:
        path = folder / f"{network}.html"
        path.write_text(to_html(Placement.load(FIGURES / f"{network}.json")), encoding="utf8")
        return path.as_uri()

    return write


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("network", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in NETWORKS])
def test_a_report_can_be_read_on_any_screen_in_light_and_dark(network, scheme, browser, report):
    with opened(browser, report(network), scheme=scheme) as page:
        for screen in SCREENS:
            show_on(page, screen)
            check_width(page)
            if screen == "desk" or network not in LARGE:
                check_reading(page)
            for row in page.locator("#regions tbody tr").all()[:5]:
                assert row.bounding_box()["height"] < 120  # no column is squeezed


def test_a_report_answers_to_the_pointer(browser, report):
    with opened(browser, report("small-network")) as page:
        box = page.locator(".box", has_text="winograd").first
        box.hover()
        assert "conv+bias+relu" in page.locator(".tip").inner_text()
        assert page.locator(".edge.lit").count() > 0
        rows = page.locator("#regions tbody tr")
        count = rows.count()
        page.locator(".filter").fill("winograd")
        assert 0 < page.locator("#regions tbody tr:visible").count() < count
        page.locator(".filter").fill("")
        page.locator("#regions th", has_text="each").press("Enter")
        times = [float(t.get_attribute("data-value")) for t in page.locator("#regions tbody td:nth-child(5)").all()]
        assert times == sorted(times, reverse=True)
        width = page.locator(".stage > svg").bounding_box()["width"]
        page.locator("button[data-zoom=in]").click()
        assert page.locator(".stage > svg").bounding_box()["width"] > width


def test_a_report_can_be_read_without_its_script(browser, report):
    with opened(browser, report("small-network"), java_script_enabled=False) as page:
        assert page.locator("text=times as fast as jax.jit").is_visible()
        assert page.locator(".box").count() > 5
        assert not page.locator(".filter").is_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_in_diagrams_can_be_read(scheme, browser):
    with opened(browser, "about:blank", scheme) as page:
        for diagram in DIAGRAMS:
            page.goto((FIGURES / f"{diagram}.svg").as_uri())
            assert page.locator("text").count() > 0
            assert not page.evaluate(HARD_TO_READ, CONTRAST), diagram


PAGES = ("index", "start", "how-it-works", "faq", "benchmarks", "reference/functions")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_docs_can_be_read_on_any_screen_in_light_and_dark(name, scheme, browser, served):
    with opened(browser, f"{served}/{name}.html", scheme) as page:
        check_reading(page, RULES_OF_PAGES)
        for screen in SCREENS:
            show_on(page, screen)
            check_width(page)
        for image in page.locator("article img").all():
            assert image.evaluate("image => image.complete && image.naturalWidth > 0")


@pytest.mark.slow
def test_diagrams_follow_the_theme_that_a_reader_chose(browser, served):
    """Not the system's: a dark page has dark diagrams."""
    with opened(browser, f"{served}/how-it-works.html", scheme="light") as page:
        image = page.locator("article img").first
        before = image.screenshot()
        page.evaluate("document.body.dataset.theme = 'dark'")
        page.wait_for_timeout(200)
        assert image.screenshot() != before
        assert image.evaluate("image => getComputedStyle(image).colorScheme") == "dark"


@pytest.mark.slow
def test_the_search_finds_pages(browser, served):
    with opened(browser, f"{served}/search.html?q=winograd") as page:
        page.locator("#search-results li a", has_text="winograd").first.wait_for()
