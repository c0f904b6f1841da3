"""Guide values: what a guide page says of this installation, as of now.

A value is a text, or a table that is rendered as HTML for browsers and as Markdown for programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table; the columns in ``numbers`` are aligned as numbers are."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


Value = str | LiveTable


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table_html(table: LiveTable) -> Markup:
    """Return a table as HTML; every text in it is escaped."""

    def kind(column: int) -> Markup:
        return Markup(' class="number"') if column in table.numbers else Markup("")

    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(kind(at), name) for at, name in enumerate(table.columns)
    )
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<th scope="row">{}</th>').format(cell)
                if at == 0
                else Markup("<td{}>{}</td>").format(kind(at), cell)
                for at, cell in enumerate(row)
            )
        )
        for row in table.rows
    )
    return Markup(
        '<div class="table-frame" role="region" aria-label="{0}" tabindex="0"><table>'
        '<caption class="unseen">{0}</caption><thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>'
    ).format(table.caption, head, rows)


def code_block(block_id: str, code: str, language: str) -> Markup:
    """Return code with its language and a button that copies it."""
    return Markup(
        '<div class="code"><div class="code-head"><span>{1}</span>'
        '<button class="button small quiet needs-script" type="button" data-copy="{0}" data-copied="Copied">'
        '<span>Copy</span></button></div><pre tabindex="0"><code id="{0}">{2}</code></pre></div>'
    ).format(block_id, language, escape(code))
