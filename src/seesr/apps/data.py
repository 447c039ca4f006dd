"""`seesr data`: photo folders into shards, their check, their tags, and synthetic test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesr.errors import SeesrError
from seesr.system.shown import shown

if TYPE_CHECKING:
    from seesr.data.packing import PackingProgress

app = typer.Typer(help="Photos for training and testing: pack, check, tag, degrade.", no_args_is_help=True)

Sources = Annotated[list[str], typer.Argument(help="Folders of photos, shards, folders of shards.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="A folder.")]
Seed = Annotated[int, typer.Option(help="The same seed, the same set.")]


@contextmanager
def _bar(what: str) -> Iterator["PackingProgress"]:
    """A bar on the terminal for the time of the block."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from seesr.apps.progress import console, plain_text

    columns = (plain_text(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Folder of photos.", show_default=False)],
    output: Output,
    known: Annotated[
        str | None,
        typer.Option("--set", help="lsdir, ffhq10k, coco-train or coco-val: only its photos, and all of them."),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="The zip that COCO came in, checked against its published MD5.")
    ] = None,
    crop: Annotated[int | None, typer.Option(help="Cut into squares of so many pixels; default: whole photos.")] = None,
    minimum: Annotated[int, typer.Option(help="Leave out photos with a smaller side.")] = 1,
    shard_mb: Annotated[int, typer.Option(help="Photos per shard, in megabytes.")] = 500,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Pack again, replacing the shards that are there.")
    ] = False,
) -> None:
    """Pack photos into shards with an index, which training reads in any order and over a network."""
    from seesr.data import known_sets, packing

    files = packing.pictures_in(folder)
    if archive is not None and known is None:
        raise SeesrError("--archive needs --set: whose archive is it?")
    md5: dict[str, str] = {}
    if known is not None:
        files = known_sets.select(known, files, folder)
        md5 = known_sets.published_md5(known, folder)
        if archive is not None:
            known_sets.check_archive(known, archive)
    if shard_mb < 1 or minimum < 1 or (crop is not None and crop < 1):
        raise SeesrError("--shard-mb, --minimum and --crop take numbers above 0")
    recipe = packing.PackingRecipe(crop, minimum, md5)
    with _bar("packing") as progress:
        made = packing.pack(files, folder, output, recipe, shard_mb * 1_000_000, progress, overwrite)
    checked = "each checked against its published MD5" if md5 else "no published checksums were found"
    typer.echo(
        shown(
            f"{output}: {made['packed']} samples of {made['photos']} photos in {len(made['shards'])} shards; {checked}"
        )
    )
    if made["left_out"]:
        first = made["left_out"][0]
        typer.echo(shown(f"left out {len(made['left_out'])}, listed in manifest.json; the first: {first}"))


@app.command()
def index(
    shards: Annotated[list[Path], typer.Argument(help="Shards made elsewhere.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are no index.")] = False,
) -> None:
    """Make the index of shards that other programs packed."""
    from seesr.data.shards import index_name, scan_shard, write_index
    from seesr.system.shown import many

    foreign = [name for name in (index_name(str(shard)) for shard in shards) if not _may_be_index(Path(name))]
    if foreign and not overwrite:
        raise SeesrError(f"{many(foreign)} there already and no index; move it away, or replace with --overwrite")
    for shard in shards:
        entries = scan_shard(shard)
        write_index(shard, entries)
        typer.echo(shown(f"{index_name(str(shard))}: {len(entries)} pictures"))


def _may_be_index(path: Path) -> bool:
    """Whether an index can be written there: no file of that name is there, or an index."""
    import json

    try:
        return not path.exists() or "pictures" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return False


@app.command()
def check(sources: Sources) -> None:
    """Read and decode every photo, and compare checksums; exit code 2 if anything is wrong."""
    from seesr.data import packing

    with _bar("checking") as progress:
        count, wrong = packing.check(sources, progress)
    for line in wrong:
        typer.echo(shown(line))
    if wrong:
        raise SeesrError(f"{len(wrong)} problems among {count} pictures")
    typer.echo(f"{count} pictures, all sound")


@app.command()
def tag(
    sources: Sources,
    model: Annotated[str, typer.Option(help="Folder of a tagger, or of a model that has one; mini; sd2.")],
    batch: Annotated[int, typer.Option(help="Photos at once.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """See the tags of whole photos once, for training with tags=photo; kept beside each source."""
    from seesr.checkpoints.registry import resolve
    from seesr.data.shards import expand
    from seesr.data.write_tags import check_tags, write_tags
    from seesr.devices import choose_device
    from seesr.loading import tagger_from_folder

    folder = Path(model) if Path(model).is_dir() else resolve(model)
    tagger = tagger_from_folder(folder).to(choose_device(device))
    places = [path for pattern in sources for path in expand(pattern)]
    for source in places:
        check_tags(source, tagger)
    for source in places:
        with _bar(source) as progress:
            file, tagged, damaged = write_tags(source, tagger, batch, progress)
        typer.echo(shown(f"{file}: {tagged} photos tagged" + (f", {damaged} damaged" if damaged else "")))


@app.command()
def synthetic(
    sources: Sources,
    output: Output,
    count: Annotated[int, typer.Option(help="Crops.")] = 3000,
    crop: Annotated[int, typer.Option(help="Their side in pixels; low resolution is a quarter.")] = 512,
    preset: Annotated[
        str, typer.Option(help="seesr, real-esrgan, mild, camera, web, phone or bicubic.")
    ] = "real-esrgan",
    seed: Seed = 0,
) -> None:
    """Make a synthetic test set in the manner of DIV2K-Val, for 'seesr evaluate'."""
    from seesr.data.photos import load_photos
    from seesr.data.synthetic_set import check_new, make_test_set

    check_new(output)
    photos = load_photos(sources, crop, small="skip")
    with _bar("degrading") as progress:
        make_test_set(photos, output, count=count, crop=crop, preset_name=preset, seed=seed, progress=progress)
    told = f"{output}: {count} pairs from {len(photos)} photos; measure with 'seesr evaluate --testset {output}'"
    typer.echo(shown(told))
