"""`fsmde verify`: whether a cache is still what was written, and its repair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.commands.options import Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version
from stages.wording import counted, size

if TYPE_CHECKING:
    from cache_schema.verify import Verification
    from stages.cache_teacher.repair_sources import Sources

INCOMPLETE, DAMAGED = 3, 4
SHOWN = 50


def command(
    cache: Annotated[str, typer.Argument(help="Folder or URL of the cache.")] = "zarr",
    threads: Annotated[int, typer.Option(help="Files that are read at a time.", min=1)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    mend: Annotated[bool, typer.Option("--repair", help="Do again exactly what is damaged.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of the raw data, for --repair.")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER or NAME=HUB-ID of a teacher, for --repair; repeatable.")
    ] = None,
    ego_masks: Annotated[Path | None, typer.Option(help="Folder of the ego masks, for --repair.")] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Sample tokens of nuScenes that the cache was made of, for --repair.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes to share a repair.  [default: none]", min=1)] = None,
    device: Device = None,
) -> None:
    """Compare every byte of a cache with its journal and its checksums.

    Exit status: 0 sound and complete, 1 could not be checked, 3 sound but not complete, 4 damaged.
    """
    with one_line_errors():
        console = terminal(stderr=as_json)
        sources = _usable_sources(cache, root, teacher or [], ego_masks, tokens, device, workers) if mend else None
        if sources is None:
            _refuse_without_journal(cache)
        found = _verify(cache, threads, console)
        if sources is not None and found.damages:
            _mend(cache, found, sources, console)
            found = _verify(cache, threads, console)
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
        else:
            _report(console, found)
    if found.damages or found.incomplete:
        raise typer.Exit(DAMAGED if found.damages else INCOMPLETE)


def _usable_sources(
    cache: str,
    root: Path | None,
    teachers: list[str],
    ego_masks: Path | None,
    tokens: Path | None,
    device: str | None,
    workers: int | None,
) -> Sources:
    from cache_schema.storage import open_storage
    from cache_schema.verify import sound_manifest
    from stages.cache_teacher.repair_sources import Sources, require_usable

    sources = Sources(root, _by_name(teachers), ego_masks, tokens, device or "auto", workers)
    require_usable(sound_manifest(open_storage(cache))[0], sources)
    return sources


def _refuse_without_journal(cache: str) -> None:
    from cache_schema.storage import open_storage
    from cache_schema.verify import refuse_without_journal, sound_manifest

    storage = open_storage(cache)
    refuse_without_journal(storage, sound_manifest(storage)[0])


def _mend(cache: str, found: Verification, sources: Sources, console: Console) -> None:
    from stages.cache_teacher.repair import repair

    _report(console, found, mending=True)
    with ProgressBar(console, "rigs") as progress:
        changed = repair(cache, found, sources, progress, code_version=code_version())
    for file in changed:
        console.print(
            f"{file} is sound now, but not the same bytes as before: another version of a library, or another device?",
            soft_wrap=True,
        )
    console.print(f"Mended {counted(len(found.damages), 'damage')}; looking again.")


def _verify(cache: str, threads: int, console: Console) -> Verification:
    from cache_schema.storage import open_storage
    from cache_schema.verify import Verification, planned_bytes, verify

    storage = open_storage(cache)
    with ProgressBar(console, "MB") as progress:
        total = max(1, math.ceil(planned_bytes(storage) / 1e6))
        progress.begin("verify", total)
        done = shown = 0
        for step in verify(storage, threads):
            if isinstance(step, Verification):
                progress.advance(total - shown)  # what is lost was looked for
                return step
            done += step
            progress.advance(min(round(done / 1e6), total) - shown)
            shown = min(round(done / 1e6), total)
    raise AssertionError("verify ends with its result")


def _report(console: Console, found: Verification, *, mending: bool = False) -> None:
    from cache_schema.verify import describe

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    for damage in found.damages[:SHOWN]:
        say(f"damaged  {describe(damage)}")
    if len(found.damages) > SHOWN:
        say(f"damaged  and {len(found.damages) - SHOWN} more; all of them with --json")
    for group in found.incomplete:
        say(f"not complete yet  {group}")
    for file in found.strays[:SHOWN]:
        say(f"not part of the cache  {file}")
    state = counted(len(found.damages), "damage") if found.damages else "sound"
    say(f"{found.location}: {state}; {counted(found.files, 'file')}, {size(found.bytes_read)} read")
    if found.damages and not mending:
        say(f"Mend it with: fsmde verify {found.location} --repair{_options(found)}")


def _options(found: Verification) -> str:
    """The options that a repair needs."""
    shards = [damage for damage in found.damages if damage.shard is not None]
    teachers = sorted({damage.teacher for damage in shards if damage.teacher is not None})
    masks = any(damage.array == "ego_mask" for damage in found.damages)
    options = [" --root DIR"] if shards else []
    options += [f" --teacher {name}=DIR" for name in teachers]
    options += [" --ego-masks DIR"] if masks else [" [--ego-masks DIR]"] if shards else []
    return "".join(options)


def _by_name(given: list[str]) -> dict[str, str]:
    """The teachers of a repair."""
    from cache_schema.errors import ConfigError

    pairs = [entry.partition("=") for entry in given]
    wrong = [name for name, equals, source in pairs if not (equals and source)]
    if wrong:
        raise ConfigError(f"--teacher {wrong[0]} is not of the form NAME=FOLDER; fsmde inspect shows the names")
    return {name: source for name, _, source in pairs}
