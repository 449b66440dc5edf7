"""Settings of the documentation site: `sphinx-build -W --keep-going -n docs docs/_build`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parents[1]))

import tf_reg

project = "tf_reg"
author = "The tf_reg authors"
version = release = tf_reg.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Markdown
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository: tests/docs/test_links.py checks them

# Docstrings: Google style, with single backticks for code
default_role = "code"
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
copybutton_prompt_text = ">>> |... "
copybutton_prompt_is_regexp = True

# Names in "Raises", "Bases" and attributes for which this site has no page
nitpick_ignore_regex = [("py:.*", r"(keras|tf_reg)\..*"), ("py:.*", r"[A-Za-z]*Error")]

html_theme = "pydata_sphinx_theme"
html_title = f"tf_reg {release}"
html_sidebars = {
    page.stem: [] for page in Path(__file__).parent.glob("*.md")
}  # the reference alone has a list of names
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 9,
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}


def plain_property(app, what, name, obj, options, lines):
    """Put an empty comment first: napoleon reads "a: b" in a property's first line as a type and a text."""
    if what == "property":
        lines[:0] = ["..", ""]


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", plain_property, priority=400)
