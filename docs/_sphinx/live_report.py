"""Placements kept beside the figures, each as the page that `to_html` writes; links to one lead to its page."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from collage_jax import Placement

FOLDER = "figures"


class LinksToReports(SphinxTransform):
    default_priority = 399

    def apply(self, **kwargs: Any) -> None:
        up = "../" * self.env.docname.count("/")
        for node in list(self.document.findall(addnodes.download_reference)):
            path = PurePosixPath(node["reftarget"])
            if path.parent.name == FOLDER and path.suffix == ".json":
                uri = f"{up}{path.stem}.html"
                node.replace_self(nodes.reference("", "", node[0].deepcopy(), refuri=uri, internal=False))


def write(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        for saved in Path(app.srcdir, FOLDER).glob("*.json"):
            Placement.load(saved).to_html(Path(app.outdir, f"{saved.stem}.html"))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LinksToReports)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
