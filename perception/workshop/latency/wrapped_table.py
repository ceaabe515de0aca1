"""A table that never cuts a figure: where the terminal is too narrow it goes on below, with its first columns again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

EDGE, BETWEEN = 1, 3
"""Width of the left edge, and of a column besides its text: two blanks and a stroke."""


@dataclass(frozen=True)
class WrappedTable:
    """Rows of text under a head. keys: the first columns, which name the row, stand in each part. left: columns of
    text, which may be folded; the others are figures. sections: rows under which a line is drawn.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: int = 1
    left: Collection[int] = (0,)
    sections: Collection[int] = ()
    caption: str | None = None

    def tables(self, width: int) -> list[Table]:
        """Return the parts, each at most `width` columns of the terminal wide."""
        parts = self._parts(width)
        return [
            self._table(part, self.title if part is parts[0] else None, self.caption if part is parts[-1] else None)
            for part in parts
        ]

    def _parts(self, width: int) -> list[list[int]]:
        """Return the columns of each part."""
        takes = [max(map(cell_len, column)) + BETWEEN for column in zip(self.head, *self.rows)]
        keys = list(range(self.keys))
        room = width - EDGE - sum(takes[: self.keys])
        parts, left = [list(keys)], room
        for column in range(self.keys, len(self.head)):
            if takes[column] > left and len(parts[-1]) > self.keys:
                parts.append(list(keys))
                left = room
            parts[-1].append(column)
            left -= takes[column]
        return parts

    def _table(self, columns: Sequence[int], title: str | None, caption: str | None) -> Table:
        table = Table(title=title, title_justify="left", caption=caption)
        for column in columns:
            text = column in self.left
            folded = text and column >= self.keys
            table.add_column(
                Text(self.head[column]), justify="left" if text else "right", no_wrap=not folded, overflow="fold"
            )
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(row[column]) for column in columns), end_section=number in self.sections)
        return table
