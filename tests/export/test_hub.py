"""`seesr export hub`: a folder that diffusers loads, pushed by the hub's own client to a stand-in of the hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_standin import TOKEN, Hub, hub_stand_in
from huggingface_hub import constants, hf_api
from safetensors.torch import load_file

from conftest import Outcome, Reference
from seesr import SeeSRPipeline
from seesr.export.card import front_matter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Where huggingface_hub goes, with a token; large files by HTTP, not by Xet, which needs a store of its own."""
    with hub_stand_in() as standin:
        monkeypatch.setattr(constants, "ENDPOINT", standin.url)
        monkeypatch.setattr(hf_api.api, "endpoint", standin.url)
        template = f"{standin.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield standin


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_written_folder_loads_in_diffusers(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    """A model without card and licence, with notes about this machine; loaded by its own code in a new process."""
    model = tmp_path / "mine"
    shutil.copytree(tiny.model, model)
    config = json.loads((model / "vae/config.json").read_text())
    (model / "vae/config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me/vae"}))
    (model / "seesr-build.json").write_text("{}")
    (model / "vae/old.bin").write_bytes(b"program")
    options = ["--license", "apache-2.0", "--license-file", ROOT / "LICENSE"]
    outcome = seesr("export", "hub", model, "-o", tmp_path / "out", *options)
    assert outcome.code == 0, outcome.err
    written = contents(tmp_path / "out")
    assert {"README.md", "LICENSE", "pipeline.py", "model_index.json", "unet/config.json"} <= written.keys()
    assert not {"seesr-build.json", "vae/old.bin"} & written.keys()
    assert b"/home/me" not in written["vae/config.json"]
    told = front_matter(tmp_path / "out/README.md")
    assert (told["license"], told["license_link"], told["library_name"]) == ("apache-2.0", "LICENSE", "seesr")
    weights = sum(tensor.numel() for tensor in load_file(next((model / "tagger").glob("*.safetensors"))).values())
    assert f"- `tagger`: Tagger, {weights / 1e6:.3g} million weights" in (tmp_path / "out/README.md").read_text()

    program = (
        "from diffusers import DiffusionPipeline; from PIL import Image\n"
        f"pipeline = DiffusionPipeline.from_pretrained({str(tmp_path / 'out')!r}, trust_remote_code=True)\n"
        "result = pipeline(Image.new('RGB', (16, 16)), num_inference_steps=1, process_size=64)\n"
        "print(type(pipeline).__module__, result.images[0].size)"
    )
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert run.stdout == "seesr.pipeline (64, 64)\n", run.stderr


def test_pushed_to_the_hub(seesr: Callable[..., Outcome], hub: Hub, tmp_path: Path) -> None:
    """The embedded model, with its own card; then once more, into the repository that is there by now."""
    for number in range(2):
        out = tmp_path / f"out{number}"
        outcome = seesr("export", "hub", "mini", "-o", out, "--push", "company/mini", "--private")
        assert outcome.code == 0, outcome.err
        assert f"company/mini: pushed, {hub.url}/company/mini/commit/" in outcome.out
        assert hub.repos == {"company/mini": contents(out)}
    assert hub.private == {"company/mini"}
    assert hub.repos["company/mini"]["README.md"] == (ROOT / "src/seesr/assets/mini/README.md").read_bytes()
    assert b"class" not in hub.repos["company/mini"]["pipeline.py"]


def test_a_pipeline_pushes_itself(tiny: Reference, hub: Hub) -> None:
    """`push_to_hub` of diffusers: what it puts there is a model folder, too."""
    SeeSRPipeline.from_pretrained(str(tiny.model)).push_to_hub("company/tiny")
    files = hub.repos["company/tiny"]
    assert json.loads(files["model_index.json"])["_class_name"] == ["pipeline", "SeeSRPipeline"]
    assert files["pipeline.py"] == (tiny.model / "pipeline.py").read_bytes()
    assert files["unet/diffusion_pytorch_model.safetensors"] in hub.stored.values()


def test_what_is_refused(
    seesr: Callable[..., Outcome], tiny: Reference, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(words: str, *arguments: object, written: bool = False) -> None:
        outcome = seesr("export", "hub", *arguments, "-o", tmp_path / "out")
        assert outcome.code == 2
        assert words in outcome.err.splitlines()[-1]  # before it may be bars, which the real command has switched off
        assert "Traceback" not in outcome.err
        assert (tmp_path / "out").exists() == written
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

    refused("give --license, as apache-2.0", tiny.model)
    refused("has no LICENSE; give the file of its text with --license-file", tiny.model, "--license", "mit")
    refused("leave --license out", "mini", "--license", "mit")
    refused("give owner/name", "mini", "--push", "mini")
    refused("is no id on the hub", "mini", "--push", "my company/mini")
    old = tmp_path / "old"
    shutil.copytree(tiny.model, old)
    weights = old / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    refused("unet has its weights in diffusion_pytorch_model.bin", old)

    push = ("mini", "--push", "company/mini")
    hub.faults["/api/models/company/mini/commit"] = 500
    refused("the hub refused, HTTP 500; ", *push, written=True)
    monkeypatch.setenv("HF_TOKEN", "hf_that_may_not")
    refused("HTTP 401 (the token needs write access to company)", *push, written=True)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    refused("no token for the hub; run 'hf auth login'", *push)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused("the hub cannot be reached (no connection to 127.0.0.1:9", *push)
    assert not any(hub.repos.values())
