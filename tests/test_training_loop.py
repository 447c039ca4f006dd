"""The training loop: exact resume after a kill, clean stop, guards; configs and photos are checked before the start."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from seesr.errors import SeesrError
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.data import Crops, DegradationMix, load_photos


class Numbers(Dataset[dict[str, Tensor]]):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.randn(6, generator=torch.Generator().manual_seed(index))}


class TinyStage(loop.Stage):
    """Dropout draws from the global generator, so the weights depend on its state too."""

    averaged = ("net",)

    def __init__(self, width: int = 8, dropout: float = 0.3, event: str = "", at: int = -1):
        self.net = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))
        self.modules = {"net": self.net}
        self.frozen = {}
        self.event, self.at = event, at

    def dataset(self) -> Numbers:
        return Numbers()

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        if step == self.at and self.event in ("SIGKILL", "SIGTERM"):
            os.kill(os.getpid(), getattr(signal, self.event))
        loss = (self.modules["net"](batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()
        if self.event == "nan" and step - self.at in (0, 2):
            loss = loss * torch.nan
        if self.event == "always nan":
            loss = loss * torch.nan
        return {"loss": loss}

    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        torch.rand(1)  # a validation that draws must leave training as it is
        return {"mean": float(self.net[0].weight.mean())}, {}

    def save(self, folder: Path) -> None:
        save_file(self.net.state_dict(), folder / "net.safetensors")


def config(output: Path | str, **changes: object) -> loop.LoopConfig:
    values = {"steps": 12, "batch_size": 3, "learning_rate": 1e-2, "schedule": "cosine", "warmup_steps": 2}
    values |= {
        "accumulate": 2,
        "ema_decay": 0.9,
        "validate_steps": 5,
        "checkpoint_minutes": 1e-9,
        "keep_checkpoints": 2,
    }
    return loop.LoopConfig(output=str(output), **(values | changes))  # type: ignore[arg-type]


IMPORT = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_training_loop as t"


def weights(output: Path) -> dict[str, Tensor]:
    return load_file(output / "model" / "net.safetensors")


def test_stopped_runs_go_on_to_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    """Killed in step 7, then asked to stop in step 9, then finished: the same bits as in one go."""
    checkpoints = tmp_path / "broken" / "checkpoints"
    code = f"t.loop.train(lambda: t.TinyStage(event='SIGKILL', at=7), t.config({str(tmp_path / 'broken')!r}))"
    killed = subprocess.run([sys.executable, "-c", f"{IMPORT}; {code}"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000006", "step-00000007"]
    loop.train(lambda: TinyStage(event="SIGTERM", at=9), config(tmp_path / "broken"))  # this step is the last
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000009", "step-00000010"]
    loop.train(TinyStage, config(tmp_path / "broken"))
    loop.train(TinyStage, config(tmp_path / "whole"))
    broken, whole = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(torch.equal(broken[name], whole[name]) for name in whole)
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 5, 10, 12]


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    code = f"t.loop.train(lambda: t.TinyStage(dropout=0.0), t.config({str(tmp_path / 'two')!r}, batch_size=3))"
    script.write_text(f"{IMPORT}; {code}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ACCELERATE_USE_CPU": "true"})
    assert ran.returncode == 0, ran.stderr
    loop.train(lambda: TinyStage(dropout=0.0), config(tmp_path / "one", batch_size=6))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_half_a_checkpoint_is_never_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.train(TinyStage, config(tmp_path, steps=2))
    monkeypatch.setattr(loop, "save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        loop.train(TinyStage, config(tmp_path, steps=3))
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))[-1] == "step-00000002"
    loop.train(TinyStage, config(tmp_path, steps=3))
    assert (tmp_path / "checkpoints" / "step-00000003").is_dir()


def test_steps_without_finite_gradient_change_nothing(tmp_path: Path) -> None:
    loop.train(lambda: TinyStage(event="nan", at=4), config(tmp_path))
    state = json.loads((tmp_path / "checkpoints" / "step-00000012" / "state.json").read_text())
    assert state["skipped"] == 2
    assert all(bool(value.isfinite().all()) for value in weights(tmp_path).values())
    with pytest.raises(SeesrError, match="learning_rate"):
        loop.train(lambda: TinyStage(event="always nan"), config(tmp_path / "never", steps=100))


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    loop.train(TinyStage, config(tmp_path, steps=1, warmup_steps=0))
    with pytest.raises(SeesrError, match="no checkpoint of this model"):
        loop.train(lambda: TinyStage(width=9), config(tmp_path))


def test_learning_rate_schedules(tmp_path: Path) -> None:
    cosine = config(tmp_path, steps=110, warmup_steps=10)
    assert [loop.learning_rate_factor(cosine, step) for step in (0, 9, 10, 60)] == pytest.approx([0.1, 1, 1, 0.5])
    halved = config(tmp_path, schedule="halve", halve_at=[5, 8])
    assert [loop.learning_rate_factor(halved, step) for step in (0, 4, 5, 8)] == [0.5, 1, 0.5, 0.25]


@dataclasses.dataclass(kw_only=True)
class Inner:
    weight: float = 1.0


@dataclasses.dataclass(kw_only=True)
class Outer(loop.LoopConfig):
    inner: Inner = dataclasses.field(default_factory=Inner)
    names: list[str] = dataclasses.field(default_factory=list)


BASE = "output: out\nsteps: 10\nbatch_size: 2\nlearning_rate: 1e-4\n"


def test_config_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(BASE + "inner: {weight: 2}\nbetas: [0.5, 0.9]\n")
    read = load_config(Outer, file, ["inner.weight=3", "names=[a, b]", "max_minutes=5", "clip_norm=null"])
    assert (read.learning_rate, read.inner.weight, read.names, read.max_minutes) == (1e-4, 3.0, ["a", "b"], 5.0)
    assert read.betas == (0.5, 0.9)
    assert read.clip_norm is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "unknown key stepz"),
        ("inner.wait=3", r"unknown key inner\.wait"),
        ("steps=ten", "steps is 'ten'; expected a whole number"),
        ("steps=1.5", "steps is 1.5"),
        ("steps=true", "steps is True"),
        ("names=[1]", r"names\[0\] is 1"),
        ("precision=fp8", "precision is 'fp8'; expected one of fp32, bf16, fp16"),
        ("batch_size=0", "batch_size is 0"),
        ("warmup_steps=11", "warmup_steps is 11"),
        ("schedule=halve", "halve_at"),
        ("steps", "write key=value"),
    ],
)
def test_config_mistakes_name_the_key(tmp_path: Path, override: str, message: str) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(BASE)
    with pytest.raises(SeesrError, match=message):
        load_config(Outer, file, [override])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(BASE.replace("steps: 10\n", ""))
    with pytest.raises(SeesrError, match="the key steps is missing"):
        load_config(Outer, file)


def picture(seed: int, size: int = 40) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_damaged_photos_are_left_out_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"a.png": picture(0), "a.json": b'{"label": "x"}', "b.png": picture(1)[:300], "c.png": picture(2)}
    shard(tmp_path / "s.tar", files)
    photos = load_photos([str(tmp_path / "*.tar")], 40)
    assert [Path(photo.name).name for photo in photos] == ["a.png", "c.png"]
    assert photos[0].info == {"label": "x"}
    assert "1 damaged" in caplog.text


def test_useless_photos_are_errors(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar", {"a.png": picture(0), "b.png": picture(1)})
    with pytest.raises(SeesrError, match=r"smaller than the crop of 41 pixels.*48x40"):
        load_photos([str(whole)], 41)
    for size in (whole.stat().st_size // 4, whole.stat().st_size - 9216, 512):
        (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:size])
        with pytest.raises(SeesrError, match=r"cut\.tar"):
            load_photos([str(tmp_path / "cut.tar")], 40)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeesrError, match="holds no picture"):
        load_photos([str(tmp_path / "empty")], 40)
    with pytest.raises(SeesrError, match="there is no file or folder"):
        load_photos([str(tmp_path / "nowhere-*.tar")], 40)


def test_crops_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    photos = load_photos([str(tmp_path)], 16)
    one, other = Crops(photos, 16, seed=5), Crops(photos, 16, seed=5)
    backwards = {index: other[index] for index in reversed(range(9))}
    assert all(torch.equal(one[index][key], backwards[index][key]) for index in range(9) for key in ("hr", "seed"))
    assert not torch.equal(one[0]["hr"], Crops(photos, 16, seed=6)[0]["hr"])
    order = [one._permutation(epoch).tolist() for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in order)  # every photo once an epoch
    assert len({tuple(epoch) for epoch in order}) > 1


def test_the_mixture_draws_by_seed_and_keeps_its_shares() -> None:
    mix = DegradationMix({"bicubic": 1.0, "camera": 3.0})
    hr, seeds = torch.rand(1, 3, 16, 16), torch.arange(60)
    lr, target = mix(hr.expand(60, -1, -1, -1), seeds)
    assert torch.equal(lr[7:9], mix(hr.expand(2, -1, -1, -1), seeds[7:9])[0])
    assert torch.equal(target[0], hr[0])
    clean = DegradationMix({"bicubic": 1.0})(hr, seeds[:1])[0]
    assert 0.1 < (lr == clean).flatten(1).all(1).double().mean() < 0.4
    with pytest.raises(SeesrError, match="no mixture"):
        DegradationMix({"bicubic": -1.0})
