"""The shell of every page: one HTML file that needs no network, dark or light.

    html = page("Title", "What it asks.", [section("Part", figure(svg, "Caption."))])

Functions take plain text and escape it, except where an argument is called `html`.
"""

import html as _html
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

CSS = """
:root { color-scheme: light; --ink: #1c1d21; --paper: #ffffff; --soft: #585d66;
  --rule: #d4d8de; --panel: #f4f6f8; --good: #00664a; --bad: #9a3b00; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e9eaec; --paper: #16181b; --soft: #a6acb5;
    --rule: #3a3f46; --panel: #1f2226; --good: #5fd3a8; --bad: #ff9d66; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem 1.1rem 4rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.1rem); line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--rule); }
h1, h2 { text-wrap: balance; }
p, li, figcaption { max-width: 48rem; }
.soft, figcaption, .note { color: var(--soft); font-size: .92rem; }
figure { margin: 1rem 0 1.8rem; }
figcaption { margin-top: .6rem; }
.panels { display: grid; gap: 1.2rem 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(var(--least), 100%), 1fr)); }
svg { display: block; width: 100%; height: auto; max-width: 36rem; overflow: visible; }
svg text { font-family: system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem 1.2rem .4rem 0; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
sub { line-height: 0; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); }
td small { display: block; color: var(--soft); white-space: nowrap; }
pre { overflow-x: auto; background: var(--panel); padding: .8rem; font-size: .85rem; }
code { font-size: .9em; }
summary { cursor: pointer; font-weight: 600; padding: .5rem 0; }
ol.claims { list-style: none; padding: 0; }
ol.claims li { border-left: 4px solid var(--soft); padding: .1rem 0 .1rem .9rem;
  margin: 0 0 1rem; }
ol.claims .shown { border-color: var(--good); }
ol.claims .not-shown { border-color: var(--bad); }
.verdict { font-weight: 700; color: var(--soft); }
.shown .verdict { color: var(--good); }
.not-shown .verdict { color: var(--bad); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: 0 0 .6rem;
  list-style: none; font-size: .92rem; }
.key i { display: inline-block; width: 2rem; margin-right: .4rem;
  vertical-align: middle; border-top: 2px solid var(--ink); }
.pictures th, .pictures td { border: 0; padding: .15rem .3rem .35rem; }
.pictures th { font-size: .9rem; min-width: 5rem; padding-left: 0; }
.pictures th small { display: block; font-weight: 400; color: var(--soft);
  line-height: 1.3; }
.pictures td { text-align: center; font-size: .72rem; line-height: 1.3;
  min-width: 5.2rem; max-width: 7rem; }
.pictures img { display: block; margin: 0 auto .15rem; image-rendering: pixelated; }
.changed { color: var(--bad); font-weight: 700; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  figure, li, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .pictures td { min-width: 0; } .pictures img { width: 12mm; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; }
  * { print-color-adjust: exact; } }
"""


def text(plain: str) -> str:
    """Escaped and typeset: D_R has its R below the line, "5 %" stays on one line."""
    plain = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", plain)
    plain = re.sub(r" = (?=\d)", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", plain)
    return re.sub(r"\bD_(\w+)", r"D<sub>\1</sub>", _html.escape(plain))


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """A whole document; `sections` are HTML, as `section` makes them."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_html.escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{text(title)}</h1>\n<p class="soft">{text(lead)}</p>\n'
        f"</header>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def section(title: str, *html: str) -> str:
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    return f'<section id="{name}">\n<h2>{text(title)}</h2>\n{"".join(html)}</section>\n'


def paragraph(plain: str, *html: str, note: bool = False) -> str:
    kind = ' class="note"' if note else ""
    return f"<p{kind}>{text(plain)}{''.join(html)}</p>\n"


def link(href: str, plain: str) -> str:
    return f'<a href="{_html.escape(href)}">{text(plain)}</a>'


def neighbours(plain: str, folders: Sequence[str], command: str) -> str:
    """Links to the pages in `folders` beside this one's, or else how to make one."""
    if not folders:
        return paragraph(f"{plain}:") + code(command)
    links = [link(f"../{quote(name)}/report.html", name) for name in folders]
    return paragraph(f"{plain}: ", ", ".join(links), ".")


def key(entries: Iterable[tuple[str, str]]) -> str:
    """What the lines of a figure mean: (style of the line in CSS, meaning)."""
    items = "".join(
        f'<li><i style="{style}"></i>{text(plain)}</li>\n' for style, plain in entries
    )
    return f'<ul class="key">\n{items}</ul>\n'


def figure(html: str, caption: str) -> str:
    """A picture (or several, see `panels`) with its caption."""
    caption = f"<figcaption>{text(caption)}</figcaption>"
    return f"<figure>\n{html}\n{caption}\n</figure>\n"


def panels(html: Iterable[str], *, least: str = "20rem") -> str:
    """Side by side where the screen has `least` for each, or else stacked."""
    cells = "\n".join(f"<div>{cell}</div>" for cell in html)
    return f'<div class="panels" style="--least: {least}">\n{cells}\n</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """First cells head their rows; "big|small" is set on two lines."""

    def cell(plain: str) -> str:
        big, _, small = plain.partition("|")
        return text(big) + (f"<small>{text(small)}</small>" if small else "")

    body = "".join(
        f'<tr><th scope="row">{cell(row[0])}</th>'
        + "".join(f"<td>{cell(value)}</td>" for value in row[1:])
        + "</tr>\n"
        for row in rows
    )
    top = "".join(f'<th scope="col">{cell(name)}</th>' for name in head)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def code(plain: str) -> str:
    return f"<pre><code>{_html.escape(plain)}</code></pre>\n"


def details(summary: str, *html: str) -> str:
    """Folded away until it is asked for."""
    return f"<details>\n<summary>{text(summary)}</summary>\n{''.join(html)}</details>\n"
