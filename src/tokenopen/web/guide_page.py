"""Guide pages: Markdown files of the package, read once, with places in them for what is live.

A file begins with ``title``, ``summary`` and ``updated`` between two lines of dashes. ``{{ name }}`` in its
text stands for a live value (web/guide_value.py); on a line of its own it may be a table. Which page stands
where is said by ``guide/contents.toml``.
"""

import datetime
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from tokenopen.web.guide_value import LiveTable, Value, code_block, table_html

GUIDE: Final = Path(__file__).parent / "guide"
_PLACE: Final = re.compile(r"<p>\{\{ ([a-z_]+) \}\}</p>|\{\{ ([a-z_]+) \}\}")
_HEAD: Final = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)
_NOT_ANCHOR: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading that the page's own contents list."""

    anchor: str
    text: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidePage:
    """One page. ``html`` still has the places for live values in it; so has ``markdown``."""

    path: str
    section: str
    title: str
    summary: str
    updated: datetime.date
    markdown: str
    html: str
    headings: Sequence[Heading]

    def filled(self, values: Mapping[str, Value]) -> Markup:
        """Return the page's HTML with its live values."""

        def value_of(match: re.Match[str]) -> str:
            value = values[match.group(1) or match.group(2)]
            if isinstance(value, LiveTable):
                return table_html(value)
            return str(escape(value))

        # The Markdown is ours and renders no HTML of its own; every value is escaped above.
        return Markup(_PLACE.sub(value_of, self.html))  # noqa: S704

    def filled_markdown(self, values: Mapping[str, Value]) -> str:
        """Return the page as Markdown with its live values, for readers that are programs."""

        def value_of(match: re.Match[str]) -> str:
            value = values[match.group(1) or match.group(2)]
            return value.markdown if isinstance(value, LiveTable) else str(value)

        return f"# {self.title}\n\n{_PLACE.sub(value_of, self.markdown)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideSection:
    """Pages that stand together. ``book`` is which entry of the top bar they are under."""

    book: str
    title: str
    pages: Sequence[GuidePage]


def _anchor(text: str) -> str:
    return _NOT_ANCHOR.sub("-", text.lower()).strip("-")


def _parser() -> MarkdownIt:
    # Raw HTML stays text: a page is Markdown and nothing else, so none can bring in a script or a style.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("fence", _render_fence)
    return parser


def _render_fence(_self: object, tokens: Sequence[Token], index: int, *_: object) -> str:
    token = tokens[index]
    return code_block(f"code-{token.map[0] if token.map else index}", token.content, token.info.strip())


def _label_headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.tag in ("h2", "h3"):
            anchor = _anchor(inline.content)
            token.attrSet("id", anchor)
            yield Heading(anchor=anchor, text=inline.content.replace("`", ""), level=int(token.tag[1]))


def _read_page(path: Path, *, at: str, section: str) -> GuidePage:
    found = _HEAD.fullmatch(path.read_text(encoding="utf-8"))
    assert found is not None, f"{path.name} has no head"
    head = dict(line.split(": ", 1) for line in found.group(1).splitlines())
    parser = _parser()
    tokens = parser.parse(found.group(2))
    headings = list(_label_headings(tokens))
    html = parser.renderer.render(tokens, parser.options, {})
    return GuidePage(
        path=at,
        section=section,
        title=head["title"],
        summary=head["summary"],
        updated=datetime.date.fromisoformat(head["updated"]),
        markdown=found.group(2).strip() + "\n",
        html=html.replace("<table>", '<div class="table-frame" tabindex="0"><table>').replace(
            "</table>", "</table></div>"
        ),
        headings=headings,
    )


def load_guide(folder: Path = GUIDE) -> Sequence[GuideSection]:
    """Return every section of the guide in order, as the contents say."""
    contents = tomllib.loads((folder / "contents.toml").read_text(encoding="utf-8"))
    return [
        GuideSection(
            book=section["book"],
            title=section["title"],
            pages=[
                _read_page(folder / f"{name}.md", at=address, section=section["title"])
                for name, address in section["pages"]
            ],
        )
        for section in contents["section"]
    ]
