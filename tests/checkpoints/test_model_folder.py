"""Model folders in diffusers' own `DiffusionPipeline`, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.checkpoints.model_folder import class_name


def program(*lines: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, without a network."""
    environment = os.environ | {"HF_MODULES_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def loaded(folder: Path, arguments: str = "") -> str:
    """Load the folder by diffusers' own class and print what came of it."""
    return (
        f"pipeline = DiffusionPipeline.from_pretrained({str(folder)!r}{arguments})\n"
        "print(type(pipeline).__module__, type(pipeline).__name__, type(pipeline.unet).__name__)"
    )


IMPORT = "from diffusers import DiffusionPipeline"
MADE = "seesr.pipeline SeeSRPipeline SemanticUNet\n"


def test_diffusers_loads_a_folder_after_the_light_import_of_this_package(tiny: Reference, tmp_path: Path) -> None:
    light = "import sys, seesr; assert not {'torch', 'diffusers'} & set(sys.modules)"
    run = program(light, IMPORT, loaded(tiny.model), cache=tmp_path)
    assert run.stdout == MADE, run.stderr


def test_diffusers_loads_a_folder_by_its_code_and_one_of_an_older_version(tiny: Reference, tmp_path: Path) -> None:
    """The folder's code imports this package, after diffusers. The index of the older one names the class alone."""
    folder = tmp_path / "older"
    folder.mkdir()
    for part in tiny.model.iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
    index = json.loads((tiny.model / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "SeeSRPipeline"]
    assert class_name(index) == class_name({"_class_name": "SeeSRPipeline"}) == "SeeSRPipeline"
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "SeeSRPipeline"}))
    by_code = loaded(tiny.model, ", trust_remote_code=True")
    run = program(IMPORT, by_code, "import seesr", loaded(folder), cache=tmp_path)
    assert run.stdout == 2 * MADE, run.stderr


def test_a_saved_pipeline_is_such_a_folder(tiny: Reference, tmp_path: Path) -> None:
    SeeSRPipeline.from_pretrained(str(tiny.model)).save_pretrained(tmp_path)
    for name in ("pipeline.py", "model_index.json"):
        ours, written = (
            json.loads(text) if name.endswith("json") else text
            for text in ((tmp_path / name).read_text(), (tiny.model / name).read_text())
        )
        assert ours == written
