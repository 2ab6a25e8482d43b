"""Links to files beside the docs: to the page that includes one, to the repository in a browser, or else their text.

A checkout's Markdown links to source files and folders. None of them is part of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

_INCLUDED = re.compile(r"^```\{include\} (\S+)", re.MULTILINE)


class LinksOutside(SphinxTransform):
    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        self.docs = Path(self.env.srcdir)
        pages = _pages(self.docs)
        for node in list(self.document.findall(lambda n: isinstance(n, nodes.Element) and n.get("reftype") == "myst")):
            path, _, place = node["reftarget"].partition("#")
            found = self._outside(path, node)
            if found is not None:
                node.replace_self(self._link(found, node.get("reftargetid") or place or None, node, pages.get(found)))

    def _outside(self, target: str, node: nodes.Element) -> Path | None:
        """The file of the checkout, beside the docs, that ``node`` links to."""
        is_page = node.get("refdomain") == "doc"
        if not target or (is_page and target in self.env.found_docs):
            return None
        # A page that includes a file has the links of that file, relative to where it lies.
        base = Path(node.source or self.document["source"]).parent
        path = (base / (f"{target}.md" if is_page else target)).resolve()
        inside = path.is_relative_to(self.docs) or not path.is_relative_to(self.docs.parent)
        return path if path.exists() and not inside else None

    def _link(self, path: Path, place: str | None, node: nodes.Element, page: str | None) -> nodes.Node:
        content = node[0].deepcopy()
        if page is not None:
            where = {"refdomain": "doc", "reftarget": page, "reftargetid": place, "refexplicit": True}
            return addnodes.pending_xref("", content, reftype="myst", refdoc=self.env.docname, **where)
        if not self.config.source_url:
            return content
        uri = f"{self.config.source_url.rstrip('/')}/{path.relative_to(self.docs.parent).as_posix()}"
        return nodes.reference("", "", content, refuri=uri, internal=False)


def _pages(docs: Path) -> dict[Path, str]:
    """Pages that are a file of the checkout, by that file."""
    included = {page: _INCLUDED.search(page.read_text(encoding="utf8")) for page in docs.glob("*.md")}
    return {(docs / match[1]).resolve(): page.stem for page, match in included.items() if match}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("source_url", "", "env", types=(str,))
    app.add_transform(LinksOutside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
