"""Pages and texts from the Jinja2 templates beside this file.

    html = page.render("theory.html", title="Theory", claims=claims, figure=svg)

Templates hold all prose and markup; values are plain text, which is escaped. What is
written as D_R, in a template or a value, gets its R below the line.
"""

import functools
import io
import json
import re
from collections.abc import Mapping, Sequence
from csv import writer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from nrf.evaluate.statistics import Difference
from nrf.report.results import Measure, ball

# What is not prose: pictures, programs, style, and every tag with its attributes.
_NOT_PROSE = re.compile(
    r"(<(svg|pre|code|style|script|title)\b.*?</\2>|<[^>]*>)", flags=re.DOTALL
)


def render(template: str, /, **values: Any) -> str:
    """The text that a template makes of `values`; typeset where it is HTML.

    Raises:
      jinja2.UndefinedError: the template needs a value that was not given.
    """
    text = _TEMPLATES.get_template(template).render(values)
    return typeset(text) if template.endswith(".html") else text


def words(template: str, macro: str, /, *of: Any, **values: Any) -> list[str]:
    """The paragraphs that a macro of a template makes, as plain text."""
    text = str(getattr(_TEMPLATES.get_template(template).module, macro)(*of, **values))
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]


def typeset(html: str) -> str:
    """D_R with its R below the line, and "5 %" and "ε = 5" kept on one line each."""
    # Every third piece is prose; the others are a tag and the tag's name.
    pieces = _NOT_PROSE.split(html)
    for i in range(0, len(pieces), 3):
        prose = re.sub(r"(?<=\d)\s+%", "\N{NO-BREAK SPACE}%", pieces[i])
        prose = re.sub(r"\s+=\s+(?=\d)", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", prose)
        pieces[i] = re.sub(r"\bD_(\w+)", r"D<sub>\1</sub>", prose)
        pieces[i + 2 : i + 3] = [""] * (i + 2 < len(pieces))
    return "".join(pieces)


def percent(fraction: float | None, digits: int = 1) -> str:
    """48.1 %; a dash for None."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def number(value: float, form: str = ".3g") -> str:
    """The number with a true minus sign."""
    return f"{value:{form}}".replace("-", "−")


def told(measure: Measure, separator: str = " ") -> str:
    """48.1 % [46.2, 50.0]."""
    low, high = measure.interval
    interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
    return f"{percent(measure.mean)}{separator}{interval}"


def intervals(of: Difference) -> list[str]:
    """seeds [−3.3, 28.5] and images [8.2, 17.0], in points; what there is."""
    ends = {"seeds": of.over_seeds, "images": of.over_images}
    return [
        f"{name} [{number(100 * pair[0], '.1f')}, {number(100 * pair[1], '.1f')}]"
        for name, pair in ends.items()
        if pair
    ]


def gap(of: Difference) -> str:
    """+12.6 points (seeds [−3.3, 28.5], images [8.2, 17.0])."""
    return f"{number(100 * of.mean, '+.1f')} points ({', '.join(intervals(of))})"


def slug(text: str) -> str:
    """A name for addresses inside a page."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def index(body: str) -> list[tuple[str, Markup]]:
    """Address and title of every section in the body of a page."""
    pattern = r'<h2>(.*?)</h2>(?:</summary>)?\s*<div id="([^"]*)">'
    return [(address, Markup(title)) for title, address in re.findall(pattern, body)]


def define(text: str) -> Markup:
    """Sentences of the form "Term: what it is." with the term marked as defined."""
    pattern = r"(^|\. )([A-Z][\w ]*)(?=: )"
    return Markup(re.sub(pattern, r"\1<dfn>\2</dfn>", str(escape(text))))


class Cell(str):
    """A cell's text, its numbers, and where its mark or all of it leads."""

    numbers: Mapping[str, float | str] = MappingProxyType({})
    address: str = ""

    @classmethod
    def of(cls, text: str, numbers: Mapping[str, float | str], address: str) -> "Cell":
        cell = cls(text)
        cell.numbers, cell.address = numbers, address
        return cell


def cell(plain: str) -> Markup:
    """ "big|small|small" on lines; a mark ✓ or ✗ leads to its evidence."""
    big, *others = plain.split("|")
    html = escape(big)
    for small in others:
        html += Markup("<small>{}</small>").format(small)
    if not (address := getattr(plain, "address", "")):
        return html
    link = rf'<a class="mark" href="{escape(address)}">\g<0></a>'
    marked, count = re.subn(r"✓|✗ [^<]+", link, str(html))
    return Markup(marked if count else link.replace(r"\g<0>", str(html)))


def csv(head: Sequence[str | None], rows: Sequence[Sequence[str | None]]) -> str:
    """The address of a table as CSV: each number of a cell has a column of its own."""
    lines: list[list[Any]] = [[] for _ in range(1 + len(rows))]
    for title, *cells in zip(head, *rows, strict=True):
        if title is None:
            continue
        names = {n: None for c in cells for n in getattr(c, "numbers", ())}
        plain = title.replace("|", " ")
        lines[0] += [f"{plain}, {name}" for name in names] or [plain]
        for line, value in zip(lines[1:], cells, strict=True):
            numbers = getattr(value, "numbers", {})
            text = (value or "").replace("|", " ").replace("−", "-")
            line += [numbers.get(name, "") for name in names] or [text]
    stream = io.StringIO()
    writer(stream, lineterminator="\n").writerows(lines)
    return "data:text/csv;charset=utf-8," + quote(stream.getvalue())


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with every column padded to its longest cell."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    percent=percent,
    number=number,
    told=told,
    gap=gap,
    slug=slug,
    cell=cell,
    csv=csv,
    index=index,
    define=define,
    count="{:,}".format,
    markdown=markdown,
)
_TEMPLATES.filters["json"] = functools.partial(json.dumps, indent=2)
_TEMPLATES.globals["ball"] = ball
