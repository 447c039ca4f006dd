"""The nodes for ComfyUI, on a stand-in of its protocol: batches, tags, masks, progress, interrupt, a light start."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy_standin
import pytest
import torch
import torch.nn.functional as F
from comfy_standin import Comfy, Interrupted, load_nodes, run, widgets
from PIL import Image

from seesr.errors import SeesrError
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_pil, to_tensor
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.settings import SPECS
from seesr.restoration.tag_sheet import GROUND, draw_tags

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    with pytest.MonkeyPatch.context() as patch:
        made = Comfy(tmp_path_factory.mktemp("comfy"))
        made.input.mkdir()
        for name, module in made.modules().items():
            patch.setitem(sys.modules, name, module)
        yield made


@pytest.fixture(scope="module")
def nodes(comfy: Comfy) -> dict[str, Any]:
    return load_nodes(ROOT)


@pytest.fixture(autouse=True)
def _fresh(comfy: Comfy) -> None:
    comfy.moves.clear()
    comfy.interrupt_at = None


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    """Two photos, (2, 12, 16, 3), in 8-bit levels."""
    photos = [read_photo(ROOT / f"examples/{name}.jpg").rgb.resize((16, 12)) for name in ("cat", "coffee")]
    return torch.stack([torch.tensor(list(photo.getdata())).view(12, 16, 3) / 255 for photo in photos])


@pytest.fixture(scope="module")
def model(nodes: dict[str, Any]) -> Any:
    return run(nodes["SeesrLoadModel"], dtype="float32")[0]


@pytest.fixture(scope="module")
def library() -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained("mini")


def test_loading_the_nodes_imports_nothing_heavy() -> None:
    script = (
        "import sys, pathlib; import comfy_standin as c; sys.modules |= c.Comfy(pathlib.Path('nowhere')).modules();"
        f"nodes = c.load_nodes(pathlib.Path({str(ROOT)!r}));"
        "print(len(nodes), sorted({'torch', 'numpy', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    helpers = Path(comfy_standin.__file__).parent
    told = subprocess.run([sys.executable, "-c", script], cwd=helpers, capture_output=True, text=True, check=True)
    assert told.stdout.split(maxsplit=1) == ["7", "[]\n"]


def test_the_folder_alone_can_be_linked_too(comfy: Comfy, nodes: dict[str, Any]) -> None:
    assert load_nodes(ROOT / "comfyui").keys() == nodes.keys()


def test_every_setting_has_a_widget_that_by_itself_leaves_it_to_the_profile(nodes: dict[str, Any]) -> None:
    module = sys.modules[f"{str(ROOT).replace('.', '_x_')}.comfyui.inputs"]
    shown = widgets(nodes["SeesrRestore"]) | widgets(nodes["SeesrMoreSettings"])
    assert SPECS.keys() <= shown.keys()
    read = module.read_settings({name: value for name, value in shown.items() if name in SPECS})
    assert all(not SPECS[name].in_profile and value == SPECS[name].default for name, value in read.items())
    assert module.read_settings(
        {"negative_prompt": "-", "bits": "16", "tile_tags": "on", "guidance_interval": "0,.5"}
    ) == {
        "negative_prompt": "",
        "bits": 16,
        "tile_tags": True,
        "guidance_interval": (0.0, 0.5),
    }


def test_from_loader_over_tags_to_pictures(
    comfy: Comfy, nodes: dict[str, Any], model: Any, batch: torch.Tensor, library: SeeSRPipeline
) -> None:
    tags, embedding, _ = run(nodes["SeesrSeeTags"], model=model, image=batch, add="fur")
    assert [line.endswith("fur") for line in tags.split("\n")] == [True, True]
    assert embedding.shape[0] == 2

    image, seen, prompts = run(nodes["SeesrRestore"], model=model, image=batch, tags=tags, scale=2.0)
    assert image.shape == (2, 24, 32, 3)
    assert 0 <= image.min() < image.max() <= 1
    assert len(seen.split("\n")) == 2
    assert prompts == "\n"  # no step was taken
    values = [value for value, total, _ in comfy.moves]
    assert values == sorted(values)
    assert values[-1] == comfy.moves[-1][1]
    for photo, restored in zip(batch, image):  # each as the library restores it alone
        alone = library(to_pil(photo.movedim(-1, 0)[None]), scale=2, output_type="pt").images[0]
        torch.testing.assert_close(restored.movedim(-1, 0), alone)
    assert comfy.loaded


def test_the_map_is_the_commands_picture(nodes: dict[str, Any], model: Any, library: SeeSRPipeline) -> None:
    """A sheet for each picture of the batch; the one with fewer tags is continued by its ground."""
    photos = [Image.new("RGB", (96, 96), "grey"), read_photo(ROOT / "examples/cat.jpg").rgb.resize((96, 96))]
    image = torch.stack([to_tensor(photo)[0].movedim(0, -1) for photo in photos])
    _, _, sheets = run(nodes["SeesrSeeTags"], model=model, image=image, leave_out="cat")
    drawn = [draw_tags(photo, *library.look_where(photo)) for photo in photos]
    assert drawn[0].size != drawn[1].size
    assert sheets.shape == (2, max(d.height for d in drawn), max(d.width for d in drawn), 3)
    for sheet, alone in zip(sheets, drawn):
        torch.testing.assert_close(sheet[: alone.height, : alone.width], to_tensor(alone)[0].movedim(0, -1))
        rest = sheet[alone.height :].reshape(-1, 3)
        assert (rest == torch.tensor(GROUND) / 255).all()


def test_denoising_shows_each_step_and_obeys_the_embedding(
    comfy: Comfy, nodes: dict[str, Any], model: Any, batch: torch.Tensor
) -> None:
    wanted = {"model": model, "image": batch[:1], "profile": "diffusion", "num_inference_steps": 2, "fidelity": 0.0}
    _, embedding, _ = run(nodes["SeesrSeeTags"], model=model, image=batch)
    plain, _, prompts = run(nodes["SeesrRestore"], **wanted, tags="cat,\nfur")
    previews = [preview for _, _, preview in comfy.moves if preview is not None]
    assert [form for form, _, _ in previews] == ["JPEG", "JPEG"]
    assert previews[0][1].size[0] > previews[0][1].size[1]
    assert prompts.startswith("cat, fur")
    own, _, _ = run(nodes["SeesrRestore"], **wanted, tags="cat, fur", embedding=embedding[:1])
    other, _, _ = run(nodes["SeesrRestore"], **wanted, tags="cat, fur", embedding=-embedding[1:])
    torch.testing.assert_close(own, plain)
    assert (other - plain).abs().max() > 1 / 255


def test_an_interrupt_ends_the_run_at_once(
    comfy: Comfy, nodes: dict[str, Any], model: Any, batch: torch.Tensor
) -> None:
    comfy.interrupt_at = 1
    with pytest.raises(Interrupted):
        run(nodes["SeesrRestore"], model=model, image=batch)
    assert len(comfy.moves) == 1


def test_a_mask_restores_only_there(nodes: dict[str, Any], batch: torch.Tensor) -> None:
    mask = torch.zeros(1, 12, 16)
    mask[..., 8:] = 1
    whole = run(nodes["SeesrUpscale"], image=batch, scale=2.0)[0]
    part = run(nodes["SeesrUpscale"], image=batch, scale=2.0, mask=mask)[0]
    torch.testing.assert_close(part[..., 20:, :], whole[..., 20:, :])
    plain = F.interpolate(batch.movedim(-1, 1), scale_factor=2, mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(part[..., :12, :], plain.movedim(1, -1)[..., :12, :], atol=1e-4, rtol=0)


def test_colours_are_those_of_the_photo(nodes: dict[str, Any], batch: torch.Tensor) -> None:
    tinted = (batch * torch.tensor([0.5, 0.8, 0.6]) + 0.2).clamp(0, 1)
    (fixed,) = run(nodes["SeesrFixColors"], image=tinted, photo=batch, method="adain")
    torch.testing.assert_close(fixed.mean((1, 2)), batch.mean((1, 2)), atol=0.02, rtol=0)


def test_a_folder_is_a_list_of_photos_of_any_size(comfy: Comfy, nodes: dict[str, Any]) -> None:
    place = comfy.input / "trip"
    place.mkdir()
    Image.new("RGB", (5, 4), "red").save(place / "a.png")
    Image.new("RGB", (3, 6), "blue").save(place / "c.jpg")
    (place / "b.png").write_bytes(b"no picture")
    node = nodes["SeesrLoadFolder"]
    before = node.fingerprint_inputs(folder="trip", first=0, count=9)
    photos, names = run(node, folder="trip")
    assert [tuple(photo.shape) for photo in photos] == [(1, 4, 5, 3), (1, 6, 3, 3)]
    assert names == ["a", "c"]
    (place / "a.png").unlink()
    assert node.fingerprint_inputs(folder="trip", first=0, count=9) != before
    with pytest.raises(SeesrError, match="no photo of the folder can be read"):
        run(node, folder="trip", count=1)


def test_what_does_not_go_together_is_told(nodes: dict[str, Any], model: Any, batch: torch.Tensor) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "3 lines of tags do not go with 2 pictures": {"tags": "a\nb\nc"},
        "3 masks do not go with 2 pictures": {"mask": torch.ones(3, 8, 8)},
        "3 embeddings do not go with 2 pictures": {"embedding": torch.ones(3, 1, 1)},
        "no batch of pictures": {"image": batch[0]},
        "NaN": {"image": batch * torch.nan},
    }
    for match, inputs in wrong.items():
        with pytest.raises(SeesrError, match=match):
            run(nodes["SeesrRestore"], **{"model": model, "image": batch, **inputs})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_example_workflows_fit_the_nodes(path: Path, nodes: dict[str, Any]) -> None:
    graph = json.loads(path.read_text())
    ours = [node for node in graph["nodes"] if node["type"].startswith("Seesr")]
    assert ours
    for node in ours:
        schema = nodes[node["type"]].define_schema()
        assert {each["name"] for each in node["inputs"]} == {each.id for each in schema.inputs}, "save it anew"
        assert [each["name"] for each in node["outputs"]] == [each.shown for each in schema.outputs], "save it anew"
        known = {each.id: each for each in schema.inputs if "default" in each.about}
        for each, value in zip(known.values(), node["widgets_values"], strict=True):
            each.checked(value)
    assert path.with_suffix(".jpg").stat().st_size < 100_000
