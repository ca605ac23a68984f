"""An SVG of boxes, arrows and bars. It has a background of its own, since an image cannot know the page's colours."""

from __future__ import annotations

from html import escape
from typing import Final

STYLE: Final = """
    text { font: 14px system-ui, "Segoe UI", "Liberation Sans", sans-serif; fill: #1d2733 }
    .small { font-size: 12.5px; fill: #45525f }
    .head { font-weight: 600 }
    .ground { fill: #fbfcfd; stroke: #d5dce3 }
    .box { fill: #e8eef5; stroke: #7b8ea3 }
    .thing { fill: #fff; stroke: #7b8ea3 }
    .good { fill: #d9f0df; stroke: #3d8a57 }
    .warm { fill: #fdeccb; stroke: #b27a12 }
    .bad { fill: #fadfdc; stroke: #bb5046 }
    .blue { fill: #cfe3fb; stroke: #3a76c4 }
    .line { fill: none; stroke: #56687b; stroke-width: 1.6 }
    .tip { fill: #56687b }
    .frame { fill: none; stroke: #7b8ea3; stroke-dasharray: 4 4 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6ebf0 }
      .small { fill: #b6c1cc }
      .ground { fill: #161c23; stroke: #323e4b }
      .box { fill: #263342; stroke: #7f93a8 }
      .thing { fill: #1b232c; stroke: #7f93a8 }
      .good { fill: #1d4029; stroke: #5cb37b }
      .warm { fill: #4a3812; stroke: #d3a13f }
      .bad { fill: #4f2623; stroke: #e08379 }
      .blue { fill: #1d3a5f; stroke: #6aa5ee }
      .line { stroke: #9fb0c1 }
      .tip { fill: #9fb0c1 }
    }
"""


class Picture:
    """What is drawn, in the order in which it is said. Lengths are pixels, from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f'  width="{width}" height="{height}" role="img">',
            f"  <title>{escape(title)}</title>",
            f"  <style>{STYLE}  </style>",
            "  <defs>",
            '    <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
            '      <path class="tip" d="M0 0L8 4L0 8z"/>',
            "    </marker>",
            "  </defs>",
            f'  <rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, *lines: str, kind: str = "thing") -> None:
        """A box with its lines in its middle, the first one in bold where more follow."""
        self._parts.append(f'  <rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        first = y + height / 2 + 5 - (len(lines) - 1) * 9
        for number, line in enumerate(lines):
            style = "head" if number == 0 and len(lines) > 1 else "" if number == 0 else "small"
            self.text(x + width / 2, first + number * 18, line, style, anchor="middle")

    def text(self, x: float, y: float, words: str, style: str = "small", anchor: str = "start") -> None:
        """Words on one line; `y` is what they stand on."""
        kind = f' class="{style}"' if style else ""
        self._parts.append(f'  <text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """From the first point through the others to the last."""
        path = "L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(f'  <path class="line" d="M{path}" marker-end="url(#tip)"{dash}/>')

    def frame(self, x: float, y: float, width: float, height: float, words: str) -> None:
        """A group, named above its upper edge."""
        self._parts.append(f'  <rect class="frame" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        self.text(x + 2, y - 7, words)

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
