"""Tables as Markdown, CSV, LaTeX and JSON."""

import json
import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from .columns import GROUPS, QUALITY, VERDICT, raw_rows, text_frame
from .notes import EXPLANATIONS, notes
from .tables import Table

# what a table is about, in JSON before its rows
# fmt: off
HEAD = (
    "title", "workload", "metric", "header", "percent", "logs", "counted_in", "baseline", "target", "timed", "endpoint", "margin",
    "family",
)
# fmt: on
CLAIM = ("value", "low", "high", "verdict", "difference", "difference_low", "difference_high", "source")
LATEX = {ord(char): f"\\{char}" for char in "&%$#_{}"}
LATEX |= {ord("~"): r"\textasciitilde{}", ord("^"): r"\textasciicircum{}", ord("\\"): r"\textbackslash{}"}


def render(tables: Sequence[Table], fmt: str) -> str:
    """All tables in one text; `fmt` is md, csv, tex or json."""
    if fmt not in FORMATS:
        raise ValueError(f"no format {fmt!r}; expected one of {', '.join(FORMATS)}")
    return FORMATS[fmt](tables)


def _markdown(tables: Sequence[Table]) -> str:
    return "\n".join(_one_markdown(table) for table in tables)


def _one_markdown(table: Table) -> str:
    # a bar in a label would open a column
    frame = text_frame(table).map(lambda cell: cell.replace("|", "\\|"))
    grid = frame.to_markdown(index=False, disable_numparse=True)
    lines = "\n".join(f"- {note}" for note in notes(table))
    return f"## {table.title}\n\n{grid}\n\n{lines}\n"


def _csv(tables: Sequence[Table]) -> str:
    frames = [
        {"workload": table.title, "target": table.target, "baseline": table.baseline} | _flat(row)
        for table in tables
        for row in raw_rows(table)
    ]
    return pd.DataFrame(frames).map(_no_formula).rename(columns=_no_formula).to_csv(index=False)


def _no_formula(cell: Any) -> Any:
    """A text that a spreadsheet would compute, such as an arm named =1+1, begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose lists are text: seeds, and of the published values a column each of what they are made of."""
    flat = row | {"missing_seeds": " ".join(str(seed) for seed in row["missing_seeds"])}
    claims = flat.pop("published", [])
    return flat | {f"published_{name}": "; ".join(_shown(claim[name]) for claim in claims) for name in CLAIM if claims}


def _shown(value: Any) -> str:
    unknown = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if unknown else str(value)


def _latex(tables: Sequence[Table]) -> str:
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_one_latex(table) for table in tables)


def _one_latex(table: Table) -> str:
    """What fits a page's width: the verdicts, then the metric, as two grids one below the other."""
    grids = [
        text_frame(table, [group]).map(_latin).to_latex(index=False, escape=True).removesuffix("\n")
        for group in (VERDICT, QUALITY)
    ]
    lines = "".join(f"\\noindent {_escape(note)}\\par\n" for note in notes(table))
    return (
        f"\\begin{{table}}[tbp]\n\\caption{{{_escape(table.title)}}}\n\\scriptsize\n\\setlength{{\\tabcolsep}}{{3pt}}\n"
        + "\n\\par\\medskip\n".join(grids)
        + f"\n\\par\\medskip\n{lines}\\end{{table}}\n"
    )


def _escape(text: str) -> str:
    """For captions and notes: pandas escapes only the cells of a LaTeX table."""
    return _latin(text).translate(LATEX)


def _latin(text: str) -> str:
    """Without the characters at which pdflatex stops: accents stay, what is beyond Latin stands as its number, [U+4E2D]."""
    return "".join(char if ord(char) < 0x180 else f"[U+{ord(char):04X}]" for char in unicodedata.normalize("NFC", text))


def _json(tables: Sequence[Table]) -> str:
    data = [{name: getattr(table, name) for name in HEAD} | {"rows": raw_rows(table), "notes": notes(table)} for table in tables]
    return json.dumps(_plain(data), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """What JSON can hold: null for nan, "inf" and "-inf" for the infinities."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def print_text(tables: Sequence[Table], console: Console, *, wide: bool = False, explain: bool = False) -> None:
    """Tables for a terminal: the verdicts first, then the metric; `wide` adds every other group of columns."""
    for table in tables:
        console.print(f"\n{table.title}", style="bold", markup=False)
        for group in GROUPS if wide else (VERDICT, QUALITY):
            frame = text_frame(table, [group])
            grid = Grid(*frame.columns, title=group, title_justify="left")
            for cell in frame.itertuples(index=False):
                grid.add_row(*map(escape, cell))
            console.print(grid)
        for note in notes(table):
            console.print(f"- {note}", markup=False, highlight=False)
    for line in EXPLANATIONS if explain else ():
        console.print(f"* {line}", markup=False, highlight=False)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"md": _markdown, "csv": _csv, "tex": _latex, "json": _json}
