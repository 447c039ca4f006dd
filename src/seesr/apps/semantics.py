"""`seesr semantics`: what detectors, segmenters and taggers still recognise in restored pictures."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seesr.apps.evaluate import check_folder, picture_progress
from seesr.errors import SeesrError

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from seesr.data.pairs import Pair

semantics = typer.Typer(
    help="Semantic preservation: objects, segments and tags recognised in restored pictures.", no_args_is_help=True
)

Testset = Annotated[Path, typer.Option(help="Folder with lr/ and hr/; with --degrade, of the originals.")]
Methods = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="As of 'seesr evaluate': mini, MODEL:profile,…, folder:PATH; repeatable."),
]
Degrade = Annotated[str | None, typer.Option(metavar="PRESET", help="Make the degraded pictures: seesr, mild, …")]
Seed = Annotated[int, typer.Option(help="Of the degradation; every picture has its own draws.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures, figures and plots.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many pictures.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that seesr did not write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
TaggerName = Annotated[str, typer.Option(help="mini, sd2, or the folder of a tagger or of a model that has one.")]


@semantics.command()
def coco(
    testset: Testset,
    output: Output,
    method: Methods = None,
    instances: Annotated[Path | None, typer.Option(help="instances_*.json, for box AP.")] = None,
    detector: Annotated[str | None, typer.Option(help="Detector of transformers: a folder or hub id.")] = None,
    panoptic: Annotated[
        Path | None, typer.Option(help="panoptic_*.json, for PQ and mIoU; PNG files beside it.")
    ] = None,
    segmenter: Annotated[str | None, typer.Option(help="Panoptic or semantic segmenter of transformers.")] = None,
    degrade: Degrade = None,
    seed: Seed = 0,
    limit: Limit = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Box AP, PQ and mIoU on the originals (HR), the degraded (LR) and the restored pictures, against COCO's truth."""
    from seesr.evaluation.methods import make_method
    from seesr.evaluation.semantics.boxes import NAMES
    from seesr.evaluation.semantics.coco import read_instances, read_panoptic
    from seesr.evaluation.semantics.networks import Detector, Segmenter
    from seesr.evaluation.semantics.recognition import (
        SEGMENT_NAMES,
        Truth,
        files_of_recognition,
        recognise,
        write_recognised,
    )
    from seesr.evaluation.semantics.rows import find_originals, open_testset

    if (detector is None) != (instances is None) or (segmenter is None) != (panoptic is None):
        raise SeesrError("--instances goes with --detector, and --panoptic with --segmenter; give both or neither")
    reports = ("semantics.json", "semantics.csv", "categories.csv")
    pairs = find_originals(testset, degrade, limit)
    found_in = files_of_recognition(
        [pair.name for pair in pairs], method or [], output, detector is not None, segmenter is not None
    )
    _check(output, reports, pairs, method, degrade, overwrite, found_in)
    target = _device(device)
    methods = [make_method(name, target) for name in dict.fromkeys(method or [])]
    boxes = read_instances(instances) if instances else None
    segments = read_panoptic(panoptic) if panoptic else None
    truth = Truth(
        boxes,
        Detector(detector, boxes.categories, target) if detector and boxes else None,
        segments,
        Segmenter(segmenter, segments.categories, target) if segmenter and segments else None,
    )
    with _writing(output, reports, overwrite):
        with picture_progress() as show:
            found = open_testset(testset, degrade, seed, output, limit)
            rows = recognise(found, methods, truth, output, show)
        write_recognised(rows, found, truth, str(target), output)
    figures = [name for name in (*NAMES, *SEGMENT_NAMES) if any(row.summary.get(name) is not None for row in rows)]
    title = f"{testset}: {len(found.pairs)} pictures, %"
    _print(title, _table(figures, {row.name: row.summary for row in rows}, [row.name for row in rows[1:]]))
    for network in (truth.detector, truth.segmenter):
        if network and network.unknown:
            names = ", ".join(network.unknown[:5]) + (", …" if len(network.unknown) > 5 else "")
            _say(f"{network.name} has no label for {len(network.unknown)} categories, which count as missed: {names}")
    _say(f"{output / 'semantics.json'}: written, with semantics.csv, categories.csv and what was recognised")


@semantics.command()
def tags(
    testset: Testset,
    tagger: TaggerName,
    output: Output,
    method: Methods = None,
    degrade: Degrade = None,
    seed: Seed = 0,
    limit: Limit = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Tags of the originals that are found again in the degraded and the restored pictures. Needs no annotations."""
    from seesr.evaluation.methods import make_method
    from seesr.evaluation.semantics.plots import plot_preserved
    from seesr.evaluation.semantics.preservation import preserved_tags, write_preserved
    from seesr.evaluation.semantics.rows import find_originals, open_testset
    from seesr.metrics.tags import FIGURES

    reports = ("tags.json", "tags.csv", "tags_each.csv", "tags.png")
    _check(output, reports, find_originals(testset, degrade, limit), method, degrade, overwrite)
    target = _device(device)
    methods = [make_method(name, target) for name in dict.fromkeys(method or [])]
    network = _tagger(tagger, target)
    with _writing(output, reports, overwrite):
        with picture_progress() as show:
            found = open_testset(testset, degrade, seed, output, limit)
            rows = preserved_tags(found, methods, network, output, show)
        write_preserved(rows, found, tagger, str(target), output)
        plot_preserved(rows, output / "tags.png")
    title = f"{testset}: tags of {len(found.pairs)} originals, found again, %"
    _print(title, _table(FIGURES, {row.name: row.scores.summary for row in rows}, [row.name for row in rows]))
    _say(f"{output / 'tags.json'}: written, with tags.csv, tags_each.csv and tags.png")


@semantics.command()
def dape(
    photos: Annotated[list[str], typer.Argument(help="Folders or WebDataset shards of clean photos.")],
    tagger: TaggerName,
    output: Output,
    degrade: Annotated[str, typer.Option(metavar="PRESET", help="What strength 1 stands for.")] = "seesr",
    strengths: Annotated[str, typer.Option(help="a,b,… from 0, reduced only, to 1, the preset.")] = "0,0.25,0.5,0.75,1",
    size: Annotated[int, typer.Option(help="Photos are stretched to this square first, in pixels.")] = 512,
    truth: Annotated[str, typer.Option(help="ram: its tags of the clean photos; labels: the photos' own.")] = "ram",
    seed: Seed = 0,
    limit: Limit = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """RAM and DAPE on photos degraded more and more: precision, recall and AP of their tags, with a plot."""
    from seesr.evaluation.semantics.experiment import ExperimentSettings, dape_experiment, read_photos, write_experiment
    from seesr.evaluation.semantics.plots import plot_experiment
    from seesr.metrics.tags import FIGURES

    settings = ExperimentSettings(degrade, _numbers(strengths), size, seed, truth, limit)  # type: ignore[arg-type]
    reports = ("dape.json", "dape.csv", "dape_each.csv", "dape.png")
    _check(output, reports, [], [], None, overwrite)
    target = _device(device)
    network = _tagger(tagger, target)
    with _writing(output, reports, overwrite):
        with picture_progress() as show:
            found = read_photos(photos)
            points = dape_experiment(found, network, settings, show)
        write_experiment(points, settings, photos, tagger, str(target), output)
        plot_experiment(points, output / "dape.png")
    rows = {f"{point.tagger} at {point.strength:g}": point.scores.summary for point in points}
    count = len(found[:limit])
    _print(f"Tags of {count} photos, degraded by {degrade}, %", _table(FIGURES, rows))
    _say(f"{output / 'dape.json'}: written, with dape.csv, dape_each.csv and dape.png")


@semantics.command()
def shapes(
    photos: Annotated[list[str], typer.Argument(help="Folders or WebDataset shards to cut backgrounds from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures and annotations.")],
    count: Annotated[int, typer.Option(help="Pictures.")] = 100,
    size: Annotated[int, typer.Option(help="Their side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed, the same set.")] = 0,
) -> None:
    """Make a small set in COCO's format, coloured shapes on photos, to try 'seesr semantics coco' on."""
    from seesr.evaluation.semantics.shapes import make_shapes

    check_folder(output)
    make_shapes(output, photos, count, size, seed)
    _say(f"{output}: {count} pictures written, with instances.json and panoptic.json")


def _tagger(name: str, device: "torch.device") -> Any:
    from seesr.checkpoints.registry import BUILT, EMBEDDED, resolve
    from seesr.loading import tagger_from_folder

    return tagger_from_folder(resolve(name) if name in (*EMBEDDED, *BUILT) else Path(name)).to(device)


def _device(name: str) -> "torch.device":
    """The device to run on; from here on the libraries show no bars of their own."""
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    from seesr.devices import choose_device

    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    return choose_device(name)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise SeesrError(f"--strengths cannot be {text!r}; give numbers from 0 to 1, as in 0,0.5,1") from None


def _table(
    figures: Sequence[str], rows: Mapping[str, Mapping[str, float | None]], best_of: Sequence[str] = ()
) -> "Table":
    """A line a row; the best figures among the rows named `best_of` are bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("", overflow="fold")
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    for name, row in rows.items():
        cells = [Text(name)]
        for figure in figures:
            value = row.get(figure)
            rivals = [other for other in (rows[rival].get(figure) for rival in best_of) if other is not None]
            best = name in best_of and len(best_of) > 1 and value is not None and value == max(rivals)
            cells.append(Text("–" if value is None else f"{value:.1f}", style="bold" if best else ""))
        table.add_row(*cells)
    return table


def _print(title: str, table: "Table") -> None:
    from rich.console import Console

    Console(highlight=False).print(title, table, sep="\n", markup=False, soft_wrap=True)


def _say(text: str) -> None:
    from seesr.apps.progress import say

    say(text)


def _check(
    output: Path,
    reports: Sequence[str],
    pairs: "Sequence[Pair]",
    methods: Sequence[str] | None,
    degrade: str | None,
    overwrite: bool,
    others: Sequence[Path] = (),
) -> None:
    """Before any work: that no picture is lost, and no file that is not ours replaced.

    reports: written into `output`, by name. others: written besides the pictures of the rows.
    """
    from seesr.apps.jobs.outputs import check_files, check_outputs, grouped
    from seesr.evaluation.semantics.rows import files_of_rows

    check_folder(output)
    check_files([], [output / name for name in reports], overwrite)
    reads = [path for pair in pairs for path in (pair.restored, pair.reference) if path is not None]
    writes = files_of_rows([pair.name for pair in pairs], methods or [], output, degrade)
    check_outputs(grouped(dict.fromkeys(reads)), grouped([*writes, *others]), overwrite)


def _writing(output: Path, reports: Sequence[str], overwrite: bool) -> AbstractContextManager[None]:
    """Note the reports, and all other files that are written whole, as ours."""
    from seesr.apps.jobs.outputs import recorded

    return recorded(output, overwrite=overwrite, also=[output / name for name in reports])
