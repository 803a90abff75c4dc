"""Printing: exactly one JSON document, or text for people. Progress and logs go to standard error."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, NoReturn

import msgspec
import typer

from wherry.core.codec import to_json
from wherry.core.errors import WherryError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_PAPER_WIDTH = 120


def emit(result: object, text: "Iterable[RenderableType]", *, as_json: bool, quiet: bool) -> None:
    """Print the result as JSON, or the lines and tables of `text`, or nothing."""
    if as_json:
        sys.stdout.write(to_json(msgspec.to_builtins(result, enc_hook=_path_as_text)).decode())
    elif not quiet:
        console = screen()
        for part in text:
            console.print(part, highlight=False, markup=False)


def _path_as_text(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    msg = f"{type(value).__name__} has no place in a document"
    raise TypeError(msg)


def end_with(error: WherryError) -> NoReturn:
    """End the command with the error's exit code after its result was printed: still one document."""
    tell(error)
    raise typer.Exit(error.exit_code)


def tell(error: WherryError) -> None:
    """Print what happened and the next step on standard error."""
    typer.echo(f"wherry: {error.message}", err=True)
    typer.echo(f"        {error.next_step}", err=True)


def screen() -> "Console":
    """Return standard output as a console that honours NO_COLOR and the width of the terminal."""
    from rich.console import Console

    return _console(Console())


def progress_screen(*, quiet: bool) -> "Console":
    """Return standard error as a console."""
    from rich.console import Console

    return _console(Console(stderr=True, quiet=quiet))


def _console(made: "Console") -> "Console":
    """Give tables room where there is no terminal that sets the width."""
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PAPER_WIDTH
    return made


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> "Sheet":
    """Return a table for people; numbers are given as they should stand."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return Sheet(list(headings), cells, title)


class Sheet:
    """A table that is laid out only when it is printed, so that a JSON answer does not pay for it."""

    def __init__(self, headings: list[str], rows: list[list[str]], title: str | None) -> None:
        self.headings = headings
        self.rows = rows
        self.title = title

    def __rich__(self) -> "Table":
        from rich import box
        from rich.table import Table
        from rich.text import Text

        made = Table(title=self.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in self.headings[:-1]:
            made.add_column(heading, no_wrap=True)  # only the last column, the reasons, is broken into lines
        made.add_column(self.headings[-1], overflow="fold")
        for row in self.rows:
            made.add_row(*map(Text, row))  # a cell is text: `wherry[onnx]` is no markup
        return made


def megabytes(size: int) -> str:
    """Return a size for people, in units of 10^6 bytes."""
    return f"{size / 1e6:.2f} MB"


def percent(value: float | None) -> str:
    """Return a share for people."""
    return "-" if value is None else f"{value:.2%}"
