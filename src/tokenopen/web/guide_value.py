"""Guide values: what a guide page says of this installation, as of now.

A value is a text, a link or a table, rendered as HTML for browsers and as Markdown for programs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table; the columns in ``numbers`` are aligned as numbers are, what is between backticks is code.

    The text in the column ``anchor`` is what links name a row by.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    anchor: int | None = None

    @property
    def html(self) -> Markup:
        """The table as HTML; every text in it is escaped."""
        return _table_html(self)

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLink:
    """A text that leads somewhere, or nowhere where ``href`` is empty."""

    text: str
    href: str

    @property
    def html(self) -> Markup:
        """The link as HTML."""
        if not self.href:
            return escape(self.text)
        return Markup('<a href="{}">{}</a>').format(self.href, self.text)

    @property
    def markdown(self) -> str:
        """The link in Markdown."""
        return f"[{self.text}]({self.href})" if self.href else self.text


Value = str | LiveTable | LiveLink


class LiveValues(Mapping[str, Value]):
    """Values by name; a table is only made for a page that shows it."""

    def __init__(
        self, texts: Mapping[str, str | LiveLink], tables: Mapping[str, Callable[[], LiveTable]]
    ) -> None:
        self._texts = texts
        self._tables = tables

    def __getitem__(self, name: str) -> Value:
        return self._texts[name] if name in self._texts else self._tables[name]()

    def __iter__(self) -> Iterator[str]:
        return iter((*self._texts, *self._tables))

    def __len__(self) -> int:
        return len(self._texts) + len(self._tables)


def support_link(contact: str) -> LiveLink:
    """Return an operator's support contact as a link, where it is a mail address or an address of the web.

    Nothing else becomes a link: a contact that begins with another scheme could run a script.
    """
    if contact.startswith(("https://", "http://")):
        return LiveLink(text=contact, href=contact)
    if "@" in contact and " " not in contact:
        return LiveLink(text=contact, href=f"mailto:{contact}")
    return LiveLink(text=contact, href="")


def with_code(words: str) -> Markup:
    """Return a text as markup, with what stands between backticks as code."""
    parts = words.split("`")
    marked = [
        Markup("<code>{}</code>").format(part) if at % 2 else Markup("{}").format(part)
        for at, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table_html(table: LiveTable) -> Markup:
    def kind(column: int) -> Markup:
        return Markup(' class="number"') if column in table.numbers else Markup("")

    def anchor(row: Sequence[str]) -> Markup:
        return Markup("") if table.anchor is None else Markup(' id="{}"').format(row[table.anchor].strip("`"))

    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(kind(at), name) for at, name in enumerate(table.columns)
    )
    rows = Markup("").join(
        Markup("<tr{}>{}</tr>").format(
            anchor(row),
            Markup("").join(
                Markup('<th scope="row">{}</th>').format(with_code(cell))
                if at == 0
                else Markup("<td{}>{}</td>").format(kind(at), with_code(cell))
                for at, cell in enumerate(row)
            ),
        )
        for row in table.rows
    )
    return Markup(
        '<div class="table-frame" role="region" aria-label="{0}" tabindex="0"><table>'
        '<caption class="unseen">{0}</caption><thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>'
    ).format(table.caption, head, rows)


def code_tabs(tabs_id: str, blocks: Sequence[tuple[str, Markup]]) -> Markup:
    """Return blocks of code as tabs, one of which shows; radio buttons, so that no script is needed."""
    labels = Markup("").join(
        Markup(
            '<label class="tab"><input type="radio" name="{0}" value="{1}" data-tab="{2}"{3}>'
            "<span>{2}</span></label>"
        ).format(tabs_id, number, label, Markup("") if number else Markup(" checked"))
        for number, (label, _) in enumerate(blocks)
    )
    panels = Markup("").join(Markup('<div class="tab-panel">{}</div>').format(block) for _, block in blocks)
    return Markup(
        '<div class="tabs" data-tabs><div class="tab-list" role="radiogroup" aria-label="Language">{}</div>'
        "{}</div>"
    ).format(labels, panels)


def code_block(block_id: str, code: str, language: str) -> Markup:
    """Return code with its language and a button that copies it."""
    return Markup(
        '<div class="code"><div class="code-head"><span>{1}</span>'
        '<button class="button small quiet needs-script" type="button" data-copy="{0}" data-copied="Copied">'
        '<span>Copy</span></button></div><pre tabindex="0"><code id="{0}">{2}</code></pre></div>'
    ).format(block_id, language, escape(code))
