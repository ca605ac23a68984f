"""How the site is built: `make docs`. Every page is plain Markdown that reads as well on a forge.

The source folder is the repository's root, so that links between pages, and from pages to code, are the relative links
that a forge understands. Nothing is loaded from elsewhere: the site works without a network.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Reranker operator"
author = "the authors of the reranker operator"
root_doc = "docs/index"
extensions = ["myst_parser", "contents", "sources", "reachable"]

include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = ["**/.*", "**/node_modules", "build", "operator", "runtime", "tests", "benchmarks", "docs/_site"]

myst_heading_anchors = 4
myst_enable_extensions: list[str] = []
# An answer that is shortened by "..." is no JSON, and shown all the same.
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = True
smartquotes = False

html_theme = "furo"
html_title = "Reranker operator"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "static/favicon.svg"
html_extra_path = ["root"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
