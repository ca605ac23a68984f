"""What the theme's pages lack for people who use assistive technology, as far as it can be said in their HTML."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

AFTER_THE_THEME = 900
EMPTY_HEAD = '<th class="head"><p></p></th>'


def complete(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    """Give captions of the side bar their level; an empty cell of a table's head is no heading of anything."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    context["body"] = context.get("body", "").replace(EMPTY_HEAD, "<td></td>")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", complete, priority=AFTER_THE_THEME)
    return {"parallel_read_safe": True}
