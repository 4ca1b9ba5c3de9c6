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

from .columns import GROUPS, QUALITY, STABILITY, VERDICT, raw_effect, raw_rows, text_frame
from .notes import EXPLANATIONS, notes
from .tables import Table

# what a table is about, in JSON before its rows
# fmt: off
HEAD = (
    "title", "workload", "metric", "header", "percent", "logs", "counted_in", "baseline", "target", "timed", "endpoint", "margin",
    "family",
)
# fmt: on
BREAK_EVEN = ("label", "at", "low", "high", "wins_above")
CLAIM = ("value", "low", "high", "verdict", "difference", "difference_low", "difference_high", "source")
LETTERS, OGONEK = "\u00a1\u00a7\u00bf\u00c6\u00d8\u00df\u00e6\u00f8\u0131\u0141\u0142\u0152\u0153", "\u0328"
PAGE_WIDTH = 78  # characters of the LaTeX tables, with two between columns, in a line of an article (345 pt)
NOTE_WIDTH = 110  # and of the notes
PAGE_ROWS = 55  # lines of that size on a page
LATEX = {ord(char): f"\\{char}" for char in "&%$#_{}"}
LATEX |= {ord("<"): r"\textless{}", ord(">"): r"\textgreater{}", ord("|"): r"\textbar{}"}
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
    return "% needs \\usepackage{booktabs,longtable}\n" + "\n".join(_one_latex(table) for table in tables)


def _one_latex(table: Table) -> str:
    """The verdicts, then the metric, as grids one below the other, each no wider than a page.

    They float as one table, or run over several pages if one cannot hold them.
    """
    frame = text_frame(table, (VERDICT, QUALITY)).map(_known)
    parts = _narrow(frame, page=PAGE_WIDTH, between=2)
    said = notes(table)
    long = (len(frame) + 4) * len(parts) + sum(1 + len(note) // NOTE_WIDTH for note in said) > PAGE_ROWS
    shown = frame.map(_escape).rename(columns=_escape)
    caption = f"\\caption{{{_escape(table.title)}}}\n"
    lines = "".join(f"\\noindent {_escape(note)}\\par\n" for note in said)
    grids = [shown[[*map(_escape, names)]].to_latex(index=False, escape=False, longtable=long) for names in parts]
    opened, closed = ("{", "}") if long else (f"\\begin{{table}}[tbp]\n{caption}", "\\end{table}")
    if long:
        grids[0] = grids[0].replace("\n", f"\n{caption.strip()}\\\\\n", 1)
    body = "\\par\\medskip\n".join(grids)
    return f"{opened}\\scriptsize\n\\setlength{{\\tabcolsep}}{{3pt}}\n{body}\\par\\medskip\n\\raggedright\n{lines}{closed}\n"


def _narrow(frame: pd.DataFrame, *, page: int, between: int) -> list[list[str]]:
    """The names of the columns of each grid: the arm's and as many others as fit on a page of so many characters."""
    arm, *names = frame.columns
    widths = {name: max(map(len, [name, *frame[name]])) + between for name in frame.columns}
    grids = [[arm]]
    for name in names:
        if len(grids[-1]) > 1 and sum(widths[each] for each in (*grids[-1], name)) > page:
            grids.append([arm])
        grids[-1].append(name)
    return grids


def _escape(text: str) -> str:
    text = _known(text).translate(LATEX)
    return f"{{}}{text}" if text.startswith("[") else text  # after a line's end a bracket would open its option


def _known(text: str) -> str:
    """Letters with accents stay, other characters at which pdflatex stops stand as their number, [U+4E2D]."""
    return "".join(char if _in_latex(char) else f"[U+{ord(char):04X}]" for char in unicodedata.normalize("NFC", text))


def _in_latex(char: str) -> bool:
    """Whether pdflatex has it in the encoding that it starts with: ASCII, a few letters, and accents but for the ogonek."""
    parts = unicodedata.normalize("NFD", char)
    return char in LETTERS or (parts[0].isascii() and char < "\u0180" and OGONEK not in parts)


def _json(tables: Sequence[Table]) -> str:
    data = [
        {name: getattr(table, name) for name in HEAD}
        | {
            "rows": raw_rows(table),
            "effects": [raw_effect(table, effect) for effect in table.effects],
            "break_even": [{name: getattr(each, name) for name in BREAK_EVEN} for each in table.break_evens],
            "notes": notes(table),
        }
        for table in tables
    ]
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
    """Tables for a terminal: the verdicts first, then the metric; `wide` adds all other columns, a device those of costs."""
    for table in tables:
        console.print(f"\n{table.title}", style="bold", markup=False)
        costs = [group for group in GROUPS if table.device and group != STABILITY]
        for group in GROUPS if wide else costs or (VERDICT, QUALITY):
            frame = text_frame(table, [group])
            for at, names in enumerate(_narrow(frame, page=console.width - 1, between=3)):
                grid = Grid(title=None if at else group, title_justify="left")
                for name in names:
                    grid.add_column(name, overflow="fold")
                for cell in frame[names].itertuples(index=False):
                    grid.add_row(*map(escape, cell))
                console.print(grid)
        for note in notes(table):
            console.print(f"- {note}", markup=False, highlight=False)
    for line in EXPLANATIONS if explain else ():
        console.print(f"* {line}", markup=False, highlight=False)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"md": _markdown, "csv": _csv, "tex": _latex, "json": _json}
