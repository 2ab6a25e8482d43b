"""The documentation site: `sphinx-build -W docs site`, after `pip install '.[docs]'`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import collage_jax

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_sphinx"))

project = "collage_jax"
author = "the authors of collage_jax"
version = release = collage_jax.__version__
copyright = f"{author}. Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "links_outside",
    "live_report",
]
exclude_patterns = ["_sphinx", "figures"]
source_suffix = {".md": "markdown"}

# Markdown that reads well where it lies as well: links to files, no directives but those of index and reference pages.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

#: Where the repository can be read in a browser, such as https://host/owner/collage_jax/blob/main. Unset, links to
#: source files are text.
source_url = os.environ.get("COLLAGE_JAX_SOURCE_URL", "")

#: What adapters of frameworks import, where it is not installed.
autodoc_mock_imports = [name for name in ("flax",) if find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autoclass_content = "class"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
default_role = "literal"

html_theme = "furo"
html_title = "collage_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6bcb", "color-brand-content": "#0b6bcb"},
    "dark_css_variables": {"color-brand-primary": "#5aa9f5", "color-brand-content": "#5aa9f5"},
}
# A light and a dark style in which comments, too, can be read.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"
