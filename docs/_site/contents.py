"""The table of contents is read from the pages that list others, so that no directive stands in them.

- `docs/index.md`: each heading becomes a caption of the side bar, the pages linked below it its entries.
- `README.md` of a folder below docs/: the pages of its own folder that it links to; all of them where it links to none.

A page that nothing lists is an orphan, and fails the build.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class Contents(SphinxTransform):
    """Adds the toctrees to a page that lists others."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Runs on every page that is read."""
        here = PurePosixPath(self.env.docname)
        if self.env.docname == self.config.root_doc:
            for section in _below_the_title(self.document):
                self._add(_titled(section), self._linked(section))
        elif here.name == "README" and here.parts[0] == "docs":
            beside = sorted(d for d in self.env.found_docs if PurePosixPath(d).parent == here.parent and d != str(here))
            own = [page for page in self._linked(self.document) if page in beside]
            self._add("", dict.fromkeys(own or beside), shown=not own)

    def _linked(self, where: nodes.Element) -> dict[str, str | None]:
        """Pages with the words of the first link to each."""
        links = [each for each in where.findall(addnodes.pending_xref) if each["reftarget"] in self.env.found_docs]
        found: dict[str, str | None] = {}
        for each in links:
            found.setdefault(each["reftarget"], each.astext())
        return found

    def _add(self, caption: str, pages: dict[str, str | None], *, shown: bool = False) -> None:
        if not pages:
            return
        tree = addnodes.toctree()
        tree.update_all_atts_concatenating(
            {
                "parent": self.env.docname,
                "entries": [(words, page) for page, words in pages.items()],
                "includefiles": list(pages),
                "maxdepth": 2,
                "caption": caption,
                "rawcaption": caption,
                "glob": False,
                "hidden": not shown,
                "includehidden": False,
                "numbered": 0,
                "titlesonly": True,
            }
        )
        tree.source, tree.line = self.document["source"], 1
        # Inside the title's section: beside it, its pages would stand on the title's own level.
        title = next(iter(self.document.findall(nodes.section)), self.document)
        title += nodes.compound("", tree, classes=["toctree-wrapper"])


def _below_the_title(document: nodes.document) -> list[nodes.section]:
    return [each for each in document.findall(nodes.section) if isinstance(each.parent, nodes.section)]


def _titled(section: nodes.section) -> str:
    return section[0].astext()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(Contents)
    return {"parallel_read_safe": True}
