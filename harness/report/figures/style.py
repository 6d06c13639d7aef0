"""How all figures look: sizes and fonts, one colour, dash and marker for each strategy, and files of equal bytes."""

from __future__ import annotations

import hashlib
import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

WIDTH, DOUBLE = 3.4, 7.0  # inches: one column of a two-column page, and both
DPI = 300
# Okabe and Ito's palette with grey for yellow, which is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKERS = "osD^vPX*<>"
INK, FAINT = "#222222", "#8a8a8a"  # of text, and of what is beside the point
SMALL = 7  # points: names, ticks and notes; the rest has 8
# One of the numbers for which no two built-in strategies look alike; another one deals all looks anew.
DEAL = 32126227
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
}
PRINT = {
    **STYLE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.labelpad": 2.0,
    "axes.titlepad": 3.0,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.3,
    "svg.fonttype": "path",
    "svg.hashsalt": "harness",
}


@dataclass(frozen=True)
class Drawn:
    """A finished figure; `alt` says in words and numbers what it shows."""

    figure: Figure
    alt: str


Drawer = Callable[["Sequence[Source]", "Item"], Drawn]


def of(label: str) -> dict[str, object]:
    """Colour, dash and marker of a strategy, arm or row, as keywords of `plot`; settings in brackets do not count.

    It depends on the name alone, so it is the same in every figure, whatever else is drawn or installed. Names that
    share what stands before their first underscore share the colour.
    """
    name = label.partition(" (")[0]
    family, _, rest = name.partition("_")
    dash = _dealt(name)[1]
    return {
        "color": COLORS[_dealt(family)[0] % len(COLORS)],
        # the head of a family has one of the plainer dashes
        "linestyle": DASHES[1 + dash % 3 if rest else dash % 2],
        "marker": MARKERS[_dealt(name)[2] % len(MARKERS)],
    }


def looks(labels: Iterable[str]) -> dict[str, dict[str, object]]:
    """`of` for every label of one figure; where two would look alike, the later by name gets another marker or dash."""
    found: dict[str, dict[str, object]] = {}
    for label in sorted(set(labels)):
        look = of(label)
        marker, dash = MARKERS.index(look["marker"]), DASHES.index(look["linestyle"])
        for turn in range(len(MARKERS) * len(DASHES)):
            changed = {
                "linestyle": DASHES[(dash + turn // len(MARKERS)) % len(DASHES)],
                "marker": MARKERS[(marker + turn) % len(MARKERS)],
            }
            if look | changed not in found.values():
                look |= changed
                break
        found[label] = look
    return found


def _dealt(name: str) -> bytes:
    """Bytes that look random but are the same for the name on every machine and in every process."""
    return hashlib.blake2s(f"{DEAL}{name}".encode()).digest()


@contextmanager
def context() -> Iterator[None]:
    """matplotlib's defaults with the style of reports, whatever the user's own settings are."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **PRINT}):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure (inches) laid out by matplotlib; `layout.sheet` makes those whose panels have exact sizes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawer(draw: Drawer) -> Drawer:
    """`draw` in the style of reports, its figure stamped where a source was forced, and its layout fixed."""

    @wraps(draw)
    def styled(sources: Sequence[Source], item: Item) -> Drawn:
        with context():
            drawn = draw(sources, item)
            if drawn.figure.get_layout_engine() is not None:
                stamp(drawn.figure, sources, unequal(sources))
                freeze(drawn.figure)
        return drawn

    return styled


def stamp(figure: Figure, sources: Sequence[Source], notices: Sequence[str], forced: Sequence[str] = ()) -> None:
    """Write above the figure why its runs are not comparable, if a source (or `forced`) says so, and `notices`."""
    reasons = list(dict.fromkeys([*(reason for source in sources for reason in source.comparison.forced), *forced]))
    parts = ["NOT COMPARABLE (forced): " + " ".join(reasons), *notices] if reasons else notices
    if parts:
        width = int(figure.get_figwidth() * 16)
        text = "\n".join(line for part in parts for line in textwrap.wrap(part, width))
        strong = {"color": "#b00000", "fontweight": "bold"} if reasons else {"color": "#7a4a00"}
        figure.suptitle(text, fontsize=SMALL - 0.5, **strong)


def unequal(sources: Sequence[Source]) -> list[str]:
    """Sentences on costs that are not equal within a source, which every output shows."""
    found: dict[str, list[str]] = {}
    for source in sources:
        for sentence in source.comparison.unequal:
            found.setdefault(sentence, []).append(source.label or source.name)
    several = len(sources) > 1
    return [f"{', '.join(names)}: {sentence}" if several else sentence for sentence, names in found.items()]


def freeze(figure: Figure) -> None:
    """Lay out once and keep that: the solver's last digits differ between processes, and its work is slow."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set_position([round(float(side), 4) for side in axis.get_position().bounds])


def files(figure: Figure) -> dict[str, bytes]:
    """The figure as "png", "pdf" and "svg", without dates or versions: equal figures give equal bytes."""
    nothing = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    }
    found = {}
    with context():
        for suffix, metadata in nothing.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
            found[suffix] = buffer.getvalue()
    return found
