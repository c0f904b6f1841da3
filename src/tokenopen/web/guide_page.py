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

from tokenopen.web.guide_value import LiveTable, Value, code_block, code_tabs

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
                return value.html
            text = escape(value) if isinstance(value, str) else value.html
            return f"<p>{text}</p>" if match.group(1) else text

        # The Markdown is ours and renders no HTML of its own; every value is escaped above.
        return Markup(_PLACE.sub(value_of, self.html))  # noqa: S704

    def filled_markdown(self, values: Mapping[str, Value]) -> str:
        """Return the page as Markdown with its live values, for readers that are programs."""

        def value_of(match: re.Match[str]) -> str:
            value = values[match.group(1) or match.group(2)]
            return value if isinstance(value, str) else value.markdown

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
    """Render a block of code; blocks with a label that follow each other become tabs (```shell curl)."""
    if _label(tokens[index]) and index > 0 and _label(tokens[index - 1]):
        return ""
    blocks = [tokens[index]]
    if _label(tokens[index]):
        blocks = list(itertools.takewhile(_label, tokens[index:]))
    rendered = [
        (_label(token), code_block(f"code-{index}-{at}", token.content, token.info.split()[0]))
        for at, token in enumerate(blocks)
    ]
    return rendered[0][1] if len(rendered) == 1 else code_tabs(f"tabs-{index}", rendered)


def _label(token: Token) -> str:
    """Return what a tab with this block of code is called; empty where it stands alone."""
    return token.info.partition(" ")[2] if token.type == "fence" else ""


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
