"""The documentation site: it builds, its links lead somewhere, and its reference has every public name."""

from __future__ import annotations

import json
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import collage_jax
from collage_jax import patterns, testing

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page links to or loads, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places |= {place for place in (found.get("id"), found.get("name")) if place}
        self.links += [link for link in (found.get("href"), found.get("src")) if link]


def test_links_of_the_site_lead_to_files_and_places_in_them(site: Path):
    pages = {page: Links(page) for page in site.rglob("*.html")}
    broken = []
    for page, found in pages.items():
        for link in found.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            place = unquote(address.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


def test_nothing_is_fetched_from_elsewhere(site: Path):
    fetched = [
        f"{page.relative_to(site)}: {line.strip()}"
        for page in site.rglob("*.html")
        for line in page.read_text(encoding="utf8").splitlines()
        if 'src="http' in line or ('rel="stylesheet"' in line and 'href="http' in line)
    ]
    assert not fetched


@pytest.mark.parametrize("module", [collage_jax, testing, patterns], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: types.ModuleType, site: Path):
    inventory = pytest.importorskip("sphinx.util.inventory").InventoryFile.loads(
        (site / "objects.inv").read_bytes(), uri=""
    )
    documented = {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and _is_ours(value)
    }
    assert public
    missing = {name for name in public if not _names(module, name) & documented}
    assert not missing


def _is_ours(value: object) -> bool:
    return str(getattr(value, "__module__", type(value).__module__)).startswith("collage_jax")


def _names(module: types.ModuleType, name: str) -> set[str]:
    """Where the reference may have it: as users import it, or where it is defined."""
    value = getattr(module, name)
    return {f"{module.__name__}.{name}", f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', name)}"}


def test_the_search_knows_backends_and_names(site: Path):
    text = (site / "searchindex.js").read_text(encoding="utf8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    for word, page in {"winograd": "winograd", "frozen": "frozen", "evolut": "decisions/search"}.items():
        hits = [index[kind].get(word, []) for kind in ("terms", "titleterms")]
        places = [place for found in hits for place in ([found] if isinstance(found, int) else found)]
        assert page in {index["docnames"][place] for place in places}
    assert any(prefix.startswith("collage_jax") for prefix in index["objects"])


def test_reports_of_real_networks_are_pages_of_the_site(site: Path):
    for saved in Path(__file__).parents[1].glob("docs/figures/*.json"):
        text = (site / f"{saved.stem}.html").read_text(encoding="utf8")
        assert "times as fast as jax.jit" in text
