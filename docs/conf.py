"""The site: `make docs` builds it from the README, docs/, notebooks/ and docstrings."""

import re
from pathlib import Path

import nrf

project, release = "nrf", nrf.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The folder of the repository is the source, so that pages lead to files as they do
# where the repository is read.
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb"]
html_theme = "furo"
html_title = "nrf"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # The tests run them.
default_role = "code"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_use_rtype = False
# Pages name files of the repository, which are no pages of the site.
suppress_warnings = ["myst.xref_missing"]


def literal(app, what, name, obj, options, lines):
    """Indented lines of docstrings are programs; elsewhere letters mean themselves."""
    text, inside = [], False
    for i, line in enumerate(lines):
        before = lines[i - 1] if i else ""
        if inside and line and not line.startswith(" "):
            inside = False
        if not inside and line.startswith("    ") and not before:
            text += ["::", ""]
            inside = True
        text.append(line if inside else re.sub(r"(?<!`)([*|])(?!`)", r"\\\1", line))
    lines[:] = text


def fields(app, what, name, obj, skip, options):
    """Those of tuples are in the signature."""
    return True if (obj.__doc__ or "").startswith("Alias for field") else None


def front(app, error):
    """The site begins at its root."""
    if not error:
        to = '<meta http-equiv="refresh" content="0; url=docs/index.html">'
        (Path(app.outdir) / "index.html").write_text(f"<title>nrf</title>{to}\n")


def setup(app):
    app.connect("autodoc-process-docstring", literal, priority=1)
    app.connect("autodoc-skip-member", fields)
    app.connect("build-finished", front)
