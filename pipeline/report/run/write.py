"""Write the report of a run: page, Markdown, pictures, model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache_schema.durable import write_atomic
from pipeline.report.run.card import card
from pipeline.report.run.contents import Contents
from pipeline.report.run.markdown import report
from pipeline.report.run.page import page
from pipeline.report.run.pictures import picture
from stages.evaluate.config import DEFAULT_SPLIT

PICTURES, CARD = "panels", "README.md"
LARGEST_BYTES = 8_000_000
"""Of a page that opens well on a phone."""


@dataclass(frozen=True)
class Written:
    """The files, and how large the page is."""

    page: Path
    markdown: Path
    card: Path | None
    pictures: tuple[Path, ...]
    page_bytes: int


def write_report(contents: Contents) -> Written:
    """Draw everything and write it into the run's folder, in the place of an earlier report of the same data.

    The card has the scores of the usual split of the data that were scored first, where there is a report of that.
    """
    run, split, label = contents.run, contents.main.split, contents.label
    usual = split == DEFAULT_SPLIT and not label
    drawn = "-".join(filter(None, (split, label)))
    pictures = {seen.index: run / PICTURES / f"{drawn}-{seen.index:06d}.png" for seen in contents.rigs}
    for seen in contents.rigs:
        write_atomic(pictures[seen.index], picture(seen))
    for earlier in set((run / PICTURES).glob(f"{drawn}-{'[0-9]' * 6}.png")) - set(pictures.values()):
        earlier.unlink()
    html = page(contents).encode()
    name = "-".join(filter(None, ("report", "" if split == DEFAULT_SPLIT else split, label)))
    links = {index: file.relative_to(run).as_posix() for index, file in pictures.items()}
    written = Written(
        page=run / f"{name}.html",
        markdown=run / f"{name}.md",
        card=run / "student" / CARD if usual or not (run / "report.html").exists() else None,
        pictures=tuple(pictures.values()),
        page_bytes=len(html),
    )
    write_atomic(written.page, html)
    write_atomic(written.markdown, report(contents, links))
    if written.card is not None:
        write_atomic(written.card, card(contents))
    return written
