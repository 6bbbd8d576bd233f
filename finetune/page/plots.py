"""Plots for pages: drawn once by matplotlib, as SVG that takes the colours of the page, light or dark, and as PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from finetune.page.parts import Figure
from finetune.report.markdown import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, LINE = "#1b1f24", "#59636e", "#d1d9e0"
SERIES = ("#0b62c4", "#b54708", "#1a7f4b", "#8250df")
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {c: f"--s{n}" for n, c in enumerate(SERIES, 1)}
WIDTH, HEIGHT, DPI = 5.6, 3.1, 110
FALLBACKS = ("Noto Sans Thai", "Loma", "Garuda", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei")
LONGEST_LABEL = 22
STYLE: dict[Any, Any] = {
    **{"svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "axes.titlesize": 10},
    **{"text.color": INK, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED},
    **{"axes.edgecolor": LINE, "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.7, "axes.axisbelow": True},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.formatter.limits": (-3, 5)},
    **{
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    },
}
_FONT = re.compile(r'(style="[^"]*?font: [^;"]*?px) [^;"]*')
_LEFT_OUT = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.S)
_fonts: list[str] = []


def draw(
    name: str, caption: str, said: str, paint: Callable[[Axes], Any], *, height: float = HEIGHT, width: float = WIDTH
) -> Figure:
    """A figure of one pair of axes that `paint` draws on; `said` tells what it shows to whoever does not see it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context({**STYLE, "font.family": find_fonts(), "svg.hashsalt": name}), _without_glyph_warnings():
        drawing = Drawing(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(drawing)
        paint(drawing.subplots())
        png, svg = io.BytesIO(), io.StringIO()
        canvas.print_png(png)  # `savefig` would draw everything twice
        drawing.set_layout_engine("none")  # the places that the first drawing found
        drawing.patch.set_facecolor("none")
        FigureCanvasSVG(drawing).print_svg(svg, metadata={"Date": None})
    return Figure(name, caption, to_inline(svg.getvalue(), name, said), png.getvalue())


class _without_glyph_warnings(warnings.catch_warnings):
    """A font without a letter is told by the PNG's empty box; the SVG's text has the browser's fonts."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")


def find_fonts() -> list[str]:
    """DejaVu, which comes with matplotlib, then those with other scripts that are installed."""
    if not _fonts:
        from matplotlib.font_manager import fontManager

        installed = {font.name for font in fontManager.ttflist}
        _fonts.extend(["DejaVu Sans", *(name for name in FALLBACKS if name in installed)])
    return _fonts


def to_inline(svg: str, name: str, said: str) -> str:
    """An SVG file as an element of a page: its own ids, the page's fonts and colours, and words for screen readers."""
    body = _LEFT_OUT.sub("", svg[svg.index("<svg") :])
    head, body = body.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    for pattern, to in ((r' id="', rf' id="{name}-'), (r"url\(#", rf"url(#{name}-"), (r'href="#', rf'href="#{name}-')):
        body = re.sub(pattern, to, body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = _FONT.sub(r"\1 var(--font)", body).replace("xlink:href", "href")
    label = escape(one_line(said), quote=True)
    return f'<svg class="plot" role="img" aria-label="{label}" {box.group() if box else ""}>{body.strip()}'


def shorten(label: str, longest: int = LONGEST_LABEL) -> str:
    """A label as it fits beside an axis."""
    text = one_line(label)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def add_legend(axes: Axes) -> None:
    """What is what, above the plot: inside it would cover lines and bars."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=3)


def bars(axes: Axes, labels: list[str], values: list[float], *, colour: str = SERIES[0], whole: bool = False) -> None:
    """Horizontal bars, the first on top, each with its number."""
    places = range(len(labels))
    axes.barh(places, values, color=colour, height=0.7)
    axes.set_yticks(places, [shorten(label) for label in labels])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.14)
    for place, value in zip(places, values, strict=True):
        text = f"{value:,.0f}" if whole else f"{value:.3f}"
        axes.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
