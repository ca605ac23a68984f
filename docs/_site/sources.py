"""Links from pages to what is no page: a file of the repository gets a page that shows it, a folder one that lists it.

A link to what does not exist is left to Sphinx, which fails the build over it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

PREFIX = "source"
LEXERS = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json", ".md": "markdown"}
LEXERS |= {".sh": "bash", ".js": "javascript", ".css": "css", ".lua": "lua", ".tpl": "yaml"}
NAMED = {"Makefile": "make", "Dockerfile": "docker"}


class Sources(SphinxTransform):
    """Marks links to files and folders that are no pages."""

    default_priority = 390

    def apply(self, **_: Any) -> None:
        """Runs on every page that is read."""
        for link in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            if (path := self._meant(link)) is None:
                continue
            marked = addnodes.pending_xref(
                "",
                *link.children,
                refdomain="",
                reftype="source",
                reftarget=path,
                refdoc=self.env.docname,
                refexplicit=True,
            )
            marked.source, marked.line = link.source, link.line
            link.replace_self(marked)

    def _meant(self, link: nodes.Element) -> str | None:
        """The path below the root, where the link leads to a file or a folder and to no page."""
        target = link.get("reftarget")
        if not target or link.get("reftype") != "myst":
            return None
        if link.get("refdomain") == "doc":
            path = f"{target}.md"  # a page, by its name from the root
            there = target not in self.env.found_docs
        else:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(self.env.docname), unquote(target)))
            there = not path.startswith("..")
        return path if there and (Path(self.env.srcdir) / path).exists() else None


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, _content: nodes.Element) -> Any:
    """The link to a source page; to the folder's README where that is a page."""
    if node.get("reftype") != "source":
        return None
    path = node["reftarget"]
    page = posixpath.join(path, "README")
    if page not in env.found_docs:
        page = f"{PREFIX}/{path}"
        shown(app).add(path)
    uri = app.builder.get_relative_uri(node["refdoc"], page)
    return nodes.reference("", "", *node.children, internal=True, refuri=uri)


def shown(app: Sphinx) -> set[str]:
    """The paths that get a page, as links ask for them."""
    if not hasattr(app, "shown_sources"):
        app.shown_sources = set()  # type: ignore[attr-defined]
    found: set[str] = app.shown_sources  # type: ignore[attr-defined]
    return found


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every file that a page links to, and what lies in the folders that one links to."""
    waiting = sorted(shown(app))
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        place = Path(app.srcdir) / path
        if place.is_dir():
            entries = sorted(each for each in place.iterdir() if not each.name.startswith((".", "__pycache__")))
            # Of a folder, the files in it; what lies deeper is named and not shown.
            files = [each for each in entries if each.is_file()]
            waiting += [f"{path}/{each.name}" for each in files]
            body = _listing(app, path, entries)
        else:
            body = _text(app, path, place)
        title = escape(path)
        yield f"{PREFIX}/{path}", {"title": title, "body": f"<h1>{title}</h1>{body}"}, "page.html"


def _listing(app: Sphinx, path: str, entries: list[Path]) -> str:
    items = []
    for each in entries:
        name = escape(each.name)
        if each.is_file():
            uri = app.builder.get_relative_uri(f"{PREFIX}/{path}", f"{PREFIX}/{path}/{each.name}")
            items.append(f'<li><a class="reference internal" href="{escape(uri)}">{name}</a></li>')
        else:
            items.append(f"<li>{name}/</li>")
    return f"<ul>{''.join(items)}</ul>"


def _text(app: Sphinx, path: str, place: Path) -> str:
    try:
        text = place.read_text("utf-8")
    except UnicodeDecodeError:
        return f"<p>{escape(path)} holds no text.</p>"
    lexer = NAMED.get(place.name) or LEXERS.get(place.suffix, "text")
    highlighter = app.builder.highlighter  # type: ignore[attr-defined]
    return str(highlighter.highlight_block(text, lexer, force=True))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(Sources)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True}
