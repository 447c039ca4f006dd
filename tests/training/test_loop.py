"""The training loop: exact resume after a kill, clean stop, guards; configs and photos are checked before the start."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forks import code_of, fork
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from seesr.errors import SeesrError
from seesr.training import checkpoints, light, loop
from seesr.training.averaging import WeightAverage
from seesr.training.config import load_config
from seesr.training.light import load_light, save_light


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


PLACES = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
IMPORT = f"import sys; sys.path[:0] = {PLACES}; import test_loop as t"


BREAK_THEN_NOT = ("event='SIGTERM', at=7", "")


def weights(output: Path) -> dict[str, Tensor]:
    return load_file(output / "model" / "net.safetensors")


def test_stopped_runs_go_on_to_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    """Killed in step 7, then asked to stop in step 9, then finished: the same bits as in one go."""
    checkpoints = tmp_path / "broken" / "checkpoints"
    messages = tmp_path / "messages.txt"
    doomed = fork(lambda: loop.train(lambda: TinyStage(event="SIGKILL", at=7), config(tmp_path / "broken")), messages)
    assert code_of(doomed) == -signal.SIGKILL, messages.read_text()
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000006", "step-00000007"]
    loop.train(lambda: TinyStage(event="SIGTERM", at=9), config(tmp_path / "broken"))  # this step is the last
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000009", "step-00000010"]
    loop.train(TinyStage, config(tmp_path / "broken"))
    loop.train(TinyStage, config(tmp_path / "whole"))
    broken, whole = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(torch.equal(broken[name], whole[name]) for name in whole)
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 5, 10, 12]


def test_a_slice_ends_on_time_with_its_metrics(tmp_path: Path) -> None:
    settings = config(tmp_path, max_minutes=1e-9)
    assert loop.train(TinyStage, settings)
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["final"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000000"]
    assert (tmp_path / "model" / "net.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    """The run is broken once."""
    script = tmp_path / "two.py"
    options = f"{str(tmp_path / 'two')!r}, batch_size=3"
    runs = [f"t.loop.train(lambda: t.TinyStage(dropout=0.0, {event}), t.config({options}))" for event in BREAK_THEN_NOT]
    script.write_text("; ".join([IMPORT, *runs]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ACCELERATE_USE_CPU": "true"})
    assert ran.returncode == 0, ran.stderr
    loop.train(lambda: TinyStage(dropout=0.0), config(tmp_path / "one", batch_size=6))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_half_a_checkpoint_is_never_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.train(TinyStage, config(tmp_path, steps=2))
    monkeypatch.setattr(checkpoints, "save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
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


def test_a_light_checkpoint_goes_on_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 and small files; on the other machine the rate rises anew, and the next resume is exact again."""
    monkeypatch.setattr(light, "FILE_BYTES", 2000)
    here, there = tmp_path / "here", tmp_path / "there"
    loop.train(lambda: TinyStage(width=300, event="SIGTERM", at=5), config(here, light_checkpoint=True, steps=20))
    files = list((here / "light").iterdir())
    assert len(files) > 4
    assert all(file.stat().st_size <= 2000 for file in files if file.suffix == ".safetensors")
    shutil.copytree(here / "light", there / "light")
    stage = TinyStage(width=300, event="SIGTERM", at=8)
    loop.train(lambda: stage, config(there, steps=20, rewarm_steps=4))
    state = json.loads((there / "checkpoints" / "step-00000009" / "state.json").read_text())
    assert (state["samples"], state["rewarm_from"]) == (54, 6)


def test_the_light_checkpoint_holds_the_trained_and_the_averaged_weights(tmp_path: Path) -> None:
    made = [nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30)) for _ in range(2)]
    made[0][0].bias.requires_grad_(False)
    made[1][0].bias.requires_grad_(False)
    averages = [WeightAverage({"net": net}, 0.9) for net in made]
    made[0](torch.randn(8, 40))  # moves the running mean
    averages[0].shadow["net/0.weight"] += 1
    save_light(tmp_path, {"net": made[0]}, averages[0], {"step": 3})
    untouched = made[1][0].bias.clone()
    assert load_light(tmp_path, {"net": made[1]}, averages[1]) == {"step": 3}
    for name in ("0.weight", "1.weight", "1.running_mean", "1.num_batches_tracked"):
        one, other = made[0].state_dict()[name], made[1].state_dict()[name]
        assert torch.allclose(one.double(), other.double(), rtol=2**-8), name  # bfloat16 keeps eight bits
    assert torch.allclose(averages[0].shadow["net/0.weight"], averages[1].shadow["net/0.weight"], rtol=2**-8)
    assert torch.equal(made[1][0].bias, untouched)  # frozen: of the model's folder
    other = {"net": nn.Sequential(nn.Linear(40, 31), nn.BatchNorm1d(31))}
    with pytest.raises(SeesrError, match="of another model"):
        load_light(tmp_path, other, WeightAverage(other, 0.9))
    file = tmp_path / "weights-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SeesrError, match="damaged"):
        load_light(tmp_path, {"net": made[1]}, averages[1])


def test_eight_bit_adam_trains_and_goes_on_exactly(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    for output, steps in (("whole", 6), ("broken", 3), ("broken", 6)):
        loop.train(
            lambda: TinyStage(width=1024, dropout=0.0),
            config(tmp_path / output, steps=steps, optimizer="adamw8bit", schedule="constant"),
        )
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(broken[name], whole[name]) for name in whole)
    assert all(bool(value.isfinite().all()) for value in whole.values())


def test_eight_bit_adam_without_its_library_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(SeesrError, match="needs bitsandbytes"):
        loop.train(TinyStage, config(tmp_path, optimizer="adamw8bit"))


def test_learning_rate_schedules(tmp_path: Path) -> None:
    cosine = config(tmp_path, steps=110, warmup_steps=10)
    assert [loop.learning_rate_factor(cosine, step) for step in (0, 9, 10, 60)] == pytest.approx([0.1, 1, 1, 0.5])
    halved = config(tmp_path, schedule="halve", halve_at=[5, 8])
    assert [loop.learning_rate_factor(halved, step) for step in (0, 4, 5, 8)] == [0.5, 1, 0.5, 0.25]
    again = config(tmp_path, schedule="halve", halve_at=[5], rewarm_steps=4)
    assert [loop.learning_rate_factor(again, step, 6) for step in (6, 7, 9, 10)] == [0.125, 0.25, 0.5, 0.5]


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
    assert load_config(Outer, file, ["precision=auto"]).precision in ("fp32", "bf16")
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
        ("precision=fp16", "precision is 'fp16'; expected one of auto, fp32, bf16"),
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
