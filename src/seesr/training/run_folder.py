"""The output folder of a training run: what a run writes there, and whether what is there already is a run's."""

import json
from pathlib import Path

from seesr.errors import SeesrError
from seesr.system.shown import many

METRICS = "metrics.jsonl"
WRITTEN = ("checkpoints", "light", METRICS, "model", "tensorboard")
"""Files and folders of every stage."""


def check_output(output: Path, overwrite: bool = False) -> None:
    """Refuse to write over files in `output` that no training run wrote.

    Raises:
        SeesrError: files of a run's names are there, and no run wrote them; they are named.
    """
    if output.is_file():
        raise SeesrError(f"output: {output} is a file; give a folder")
    present = [str(output / name) for name in WRITTEN if (output / name).exists()]
    if present and not overwrite and not is_run(output):
        raise SeesrError(
            f"{many(present)} there already and not written by a training run; choose another output, or replace with "
            "`overwrite`"
        )


def is_run(output: Path) -> bool:
    """Whether a training has begun in `output`: it has a checkpoint, or `metrics.jsonl` as the loop writes it."""
    if any((output / "checkpoints").glob("step-*/state.json")) or (output / "light" / "index.json").is_file():
        return True
    try:
        records = [json.loads(line) for line in (output / METRICS).read_text().splitlines()]
        return all({"step", "samples"} <= record.keys() for record in records)
    except (OSError, ValueError, AttributeError):
        return False
