"""What the documents say is so: their Python runs, and the files they point at are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import collage_jax
from collage_jax.backends import registry

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

#: They tune a network.
SLOW = {ROOT / "docs/start.md", ROOT / "docs/frameworks.md"}

#: What their programs import beside our own requirements.
NEEDED = {ROOT / "docs/frameworks.md": ("flax", "equinox", "haiku", "keras", "optax")}

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _blocks(document: Path, language: str) -> list[str]:
    return [text for found, text in _BLOCK.findall(document.read_text(encoding="utf8")) if found == language]


def _name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def test_the_readme_has_an_example_and_two_commands():
    readme = ROOT / "README.md"
    assert len(_blocks(readme, "python")) == 1
    assert len(_blocks(readme, "sh")) == 2


PROGRAMS = [
    pytest.param(document, id=_name(document), marks=pytest.mark.slow if document in SLOW else ())
    for document in DOCUMENTS
    if _blocks(document, "python")
]


@pytest.mark.parametrize("document", PROGRAMS)
def test_python_in_a_document_runs_from_top_to_bottom(document: Path, monkeypatch: pytest.MonkeyPatch):
    for needed in NEEDED.get(document, ()):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    for setting, value in vars(collage_jax.config).items():
        monkeypatch.setattr(collage_jax.config, setting, value)  # put back what a document changes
    monkeypatch.setattr(registry, "_registered", {})  # nor does what it registers stay
    names: dict[str, object] = {"__name__": "__main__"}
    for text in _blocks(document, "python"):
        exec(compile(text, _name(document), "exec"), names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_of_a_document_lead_somewhere(document: Path):
    targets = [t.partition("#")[0] for t in _LINK.findall(document.read_text(encoding="utf8")) if "://" not in t]
    assert not [t for t in targets if t and not (document.parent / t).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_scripts_that_a_document_runs_exist(document: Path):
    commands = "\n".join(_blocks(document, "sh"))
    assert not [script for script in re.findall(r"python (\S+\.py)", commands) if not (ROOT / script).exists()]
