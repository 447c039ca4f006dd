"""Model folders in diffusers' own `DiffusionPipeline`, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.checkpoints.model_folder import class_name

_REPORT = "print(type(pipeline).__module__, type(pipeline).__name__, type(pipeline.unet).__name__)"


def load_in_diffusers(folder: Path, before: str, arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    program = (
        f"{before}\nfrom diffusers import DiffusionPipeline\n"
        f"pipeline = DiffusionPipeline.from_pretrained({str(folder)!r}{arguments})\n{_REPORT}"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_MODULES_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    )


LIGHT = "import sys, seesr; assert not {'torch', 'diffusers'} & set(sys.modules)"


@pytest.mark.parametrize(("before", "arguments"), [(LIGHT, ""), ("", ", trust_remote_code=True")])
def test_diffusers_loads_a_folder(tiny: Reference, before: str, arguments: str, tmp_path: Path) -> None:
    run = load_in_diffusers(tiny.model, before, arguments, tmp_path)
    assert run.stdout == "seesr.pipeline SeeSRPipeline SemanticUNet\n", run.stderr


def test_diffusers_loads_a_folder_of_an_older_version(tiny: Reference, tmp_path: Path) -> None:
    """Its index names the class alone."""
    folder = tmp_path / "older"
    folder.mkdir()
    for part in tiny.model.iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
    index = json.loads((tiny.model / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "SeeSRPipeline"]
    assert class_name(index) == class_name({"_class_name": "SeeSRPipeline"}) == "SeeSRPipeline"
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "SeeSRPipeline"}))
    run = load_in_diffusers(folder, "import diffusers.pipelines.pipeline_utils, seesr", "", tmp_path)
    assert run.stdout == "seesr.pipeline SeeSRPipeline SemanticUNet\n", run.stderr


def test_a_saved_pipeline_is_such_a_folder(tiny: Reference, tmp_path: Path) -> None:
    SeeSRPipeline.from_pretrained(str(tiny.model)).save_pretrained(tmp_path)
    for name in ("pipeline.py", "model_index.json"):
        ours, written = (
            json.loads(text) if name.endswith("json") else text
            for text in ((tmp_path / name).read_text(), (tiny.model / name).read_text())
        )
        assert ours == written
