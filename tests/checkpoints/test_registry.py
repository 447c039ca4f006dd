"""Models by name: downloads that survive every kind of break, and `--model sd2` from a server to a picture."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from forks import code_of, command, fork
from huggingface_hub import constants
from PIL import Image
from standin import StandIn, stand_in

from conftest import DATA, Outcome, Reference
from seesr.checkpoints import transfer
from seesr.checkpoints.download import parse_hub_address
from seesr.checkpoints.registry import RECORD, built_folder, install, is_built
from seesr.checkpoints.sources import WEIGHTS, by_hand_folder, weights_of
from seesr.checkpoints.transfer import Unavailable, Unreachable, download, sha256_of
from seesr.errors import SeesrError

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of the test's own, a table without public places, no waiting between tries."""
    monkeypatch.setenv("SEESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0)
    return tmp_path / "cache"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[StandIn]:
    (tmp_path / "www").mkdir()
    with stand_in(tmp_path / "www") as server:
        yield server


# ---------------------------------------------------------------------------------------------------- one file


@pytest.fixture
def file(web: StandIn) -> Path:
    path = web.root / "file.bin"
    path.write_bytes(CONTENT)
    return path


def test_broken_download_goes_on_where_it_was(web: StandIn, file: Path, tmp_path: Path) -> None:
    web.faults["file.bin"] = ["break", 429, "break", 503, "empty", "break"]
    count = 0

    def advance(came: int) -> None:
        nonlocal count
        count += came

    target = download(f"{web.url}/file.bin", tmp_path / "new/file.bin", ["0" * 64, sha256_of(file)], advance)
    assert target.read_bytes() == CONTENT
    assert count == len(CONTENT)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    half = len(CONTENT) // 2
    assert web.asked_for("file.bin")[:4] == ["", f"bytes={half}-", f"bytes={half}-", f"bytes={half * 3 // 2}-"]


def test_what_came_is_taken_up_by_the_next_run(web: StandIn, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    web.faults["file.bin"] = ["break", *["empty"] * transfer.ATTEMPTS]
    with pytest.raises(Unavailable, match="gave up"):
        download(f"{web.url}/file.bin", target)
    assert not target.exists()
    download(f"{web.url}/file.bin", target)
    assert target.read_bytes() == CONTENT
    assert web.asked_for("file.bin")[-1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("known", [True, False])
def test_pieces_of_two_versions_are_never_joined(web: StandIn, file: Path, tmp_path: Path, known: bool) -> None:
    web.faults["file.bin"] = ["break", *["empty"] * transfer.ATTEMPTS]
    with pytest.raises(Unavailable):
        download(f"{web.url}/file.bin", tmp_path / "file.bin")
    file.write_bytes(CONTENT[::-1])
    download(f"{web.url}/file.bin", tmp_path / "file.bin", [sha256_of(file)] if known else [])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT[::-1]


def test_server_that_cannot_resume(web: StandIn, file: Path, tmp_path: Path) -> None:
    web.faults["file.bin"] = ["break", "no range"]
    assert download(f"{web.url}/file.bin", tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "words"), [(404, "HTTP 404"), (403, "HTTP 403"), ("corrupt", "sha256"), ("html", "web page")]
)
def test_wrong_answers_leave_nothing(web: StandIn, file: Path, tmp_path: Path, fault: int | str, words: str) -> None:
    web.faults["file.bin"] = [fault]
    with pytest.raises(Unavailable, match=words):
        download(f"{web.url}/file.bin", tmp_path / "new/file.bin", [sha256_of(file)])
    assert list((tmp_path / "new").iterdir()) == []
    assert len(web.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1:9"):
        download("http://127.0.0.1:9/file.bin", tmp_path / "file.bin")


# ---------------------------------------------------------------------------------------------------- a whole model


def use_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirrors: list[str], wrong: str = "") -> None:
    """The tiny reference set's sizes and hashes in place of the published ones; a wrong hash for one of them."""
    files = {}
    for weight in weights_of("sd2"):
        file = DATA / "upstream_tiny" / weight.path.replace("stable-diffusion-2-base/", "base/")
        if file.is_file():
            files[weight.path] = {"size": file.stat().st_size, "sha256": sha256_of(file)}
        else:  # this text tower is a .bin
            files[weight.path] = {"size": 1000, "sha256": None}
    if wrong:
        files[wrong]["sha256"] = "0" * 64
    table = tmp_path / "sources.json"
    table.write_text(json.dumps({"mirrors": mirrors, "public": False, "files": files}))
    monkeypatch.setenv("SEESR_SOURCES", str(table))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The tiny reference set under the names of the table."""
    folder = tmp_path / "www"
    shutil.copytree(DATA / "upstream_tiny/seesr", folder / "seesr")
    base = folder / "stable-diffusion-2-base"
    shutil.copytree(DATA / "upstream_tiny/base", base)
    (base / "text_encoder/pytorch_model.bin").unlink()
    write_safetensors(DATA / "upstream_tiny/base/text_encoder/pytorch_model.bin", base / "text_encoder")
    for file in (DATA / "upstream_tiny").glob("*.*"):
        shutil.copyfile(file, folder / file.name)
    return folder


def write_safetensors(binary: Path, folder: Path) -> None:
    from safetensors.torch import save_file

    from seesr.checkpoints.files import read_state_dict

    save_file({name: tensor.clone() for name, tensor in read_state_dict(binary).items()}, folder / "model.safetensors")


@pytest.fixture
def mirror(tmp_path: Path, published: Path) -> Iterator[StandIn]:
    with stand_in(published) as server:
        yield server


def test_by_name_from_a_server_to_the_published_picture(
    seesr: Callable[..., Outcome], tiny: Reference, mirror: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first mirror is down, the second one busy and breaking connections; the next run needs no network."""
    use_sources(monkeypatch, tmp_path, ["http://127.0.0.1:9", mirror.url])
    mirror.faults["ram_swin_large_14m.pth"] = ["break", 429, "break"]
    mirror.faults["seesr/unet/diffusion_pytorch_model.safetensors"] = [503, "break"]
    arguments = ["upscale", tiny.files / "input.png", "--model", "sd2", "--dtype", "fp32", *tiny.upscale_options()]
    outcome = seesr(*arguments, "-o", tmp_path / "out.png")
    assert outcome.code == 0, outcome.err
    assert "fetching seesr/unet" in outcome.err
    wanted = np.asarray(Image.open(tiny.files / "expected/output.png").convert("RGB"), dtype=int)
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png"), dtype=int) - wanted).max() <= 1

    record = json.loads((built_folder("sd2") / RECORD).read_text())
    assert record["files"]["unet/diffusion_pytorch_model.safetensors"]["sha256"] == sha256_of(
        built_folder("sd2") / "unet/diffusion_pytorch_model.safetensors"
    )
    assert record["sources"].keys() == {weight.path for weight in weights_of("sd2")}
    asked = len(mirror.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.rmtree(by_hand_folder())
    assert seesr(*arguments, "-o", tmp_path / "again.png").code == 0
    assert len(mirror.requests) == asked


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """What huggingface_hub makes of the variable HF_ENDPOINT when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_share_one_download_from_the_hub(
    mirror: StandIn, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through huggingface_hub and its cache; both get the one model."""
    use_sources(monkeypatch, tmp_path, ["hf://company/weights"])
    use_endpoint(monkeypatch, mirror.url)
    messages = [tmp_path / "one.txt", tmp_path / "two.txt"]
    children = [fork(lambda: command("download", "sd2"), file) for file in messages]
    for child, file in zip(children, messages):
        assert code_of(child) == 0, file.read_text()
        assert file.read_text().splitlines()[-1] == f"sd2: {cache / 'models/sd2'}"
    assert is_built("sd2")
    weights = "seesr/unet/diffusion_pytorch_model.safetensors"
    assert len(mirror.asked_for(weights)) == 1
    cached = list((tmp_path / "hub/models--company--weights/snapshots").rglob("DAPE.pth"))
    assert len(cached) == 1
    assert not (cache / "weights").exists()


def test_model_of_the_hub_is_fetched_once_and_then_works_offline(
    seesr: Callable[..., Outcome], tiny: Reference, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(tiny.model, tmp_path / "model")
    (tmp_path / "model/other.bin").write_bytes(CONTENT)
    weights = "unet/diffusion_pytorch_model.safetensors"
    options = ["--steps", 1, "--process-size", 64]

    def run(name: str, endpoint: str, model: str = "company/model") -> str:
        use_endpoint(monkeypatch, endpoint)
        outcome = seesr("upscale", tiny.files / "input.png", "--model", model, *options, "-o", tmp_path / name)
        assert (outcome.code == 0) == (tmp_path / name).exists()
        assert "Traceback" not in outcome.err
        return outcome.err

    with stand_in(tmp_path / "model") as server:
        server.faults[weights] = ["break", 503]
        assert f"company/model: {weights} cannot be fetched" in run("broken.png", server.url)
        assert "company/model: fetching" in run("a.png", server.url)
        assert not server.asked_for("other.bin")
    assert "fetching" not in run("b.png", "http://127.0.0.1:9")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    told = run("c.png", "http://127.0.0.1:9", "company/other")
    assert "company/other: cannot be fetched from the hub (no connection to 127.0.0.1:9" in told


def test_offline_says_all_and_what_was_put_there_by_hand_is_used(
    seesr: Callable[..., Outcome], published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_sources(monkeypatch, tmp_path, ["http://127.0.0.1:9"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    outcome = seesr("upscale", DATA / "upstream_tiny/input.png", "-o", tmp_path / "out.png", "--model", "sd2")
    assert outcome.code == 2
    for weight in weights_of("sd2"):
        assert f"    {weight.path}" in outcome.err
        assert f"\n  from {weight.by_hand}\n" in outcome.err  # a list that can be read, in lines of its own
    for words in (str(by_hand_folder()), "seesr download sd2", "HF_HUB_OFFLINE"):
        assert words in outcome.err
    assert "Traceback" not in outcome.err
    shutil.copytree(published, by_hand_folder())
    assert seesr("download", "sd2").code == 0
    assert is_built("sd2")


def test_only_what_is_missing_is_listed_and_why(
    seesr: Callable[..., Outcome], mirror: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One file is gone, one is not the published one; all the rest is kept for the next run."""
    use_sources(monkeypatch, tmp_path, [mirror.url], wrong="ram_swin_large_14m.pth")
    (mirror.root / "DAPE.pth").unlink()
    outcome = seesr("download", "sd2")
    assert outcome.code == 2
    assert "2 of its files" in outcome.err
    assert "HTTP 404" in outcome.err
    assert "sha256" in outcome.err
    assert not is_built("sd2")
    assert not (by_hand_folder() / "ram_swin_large_14m.pth").exists()
    shutil.copyfile(DATA / "upstream_tiny/DAPE.pth", mirror.root / "DAPE.pth")
    use_sources(monkeypatch, tmp_path, [mirror.url])
    mirror.requests.clear()
    assert seesr("download", "sd2").code == 0
    assert {path for _, path, _ in mirror.requests} == {"DAPE.pth", "ram_swin_large_14m.pth"}


def test_a_wrong_file_by_hand_is_named(published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_sources(monkeypatch, tmp_path, [str(published)])
    wrong = by_hand_folder() / "DAPE.pth"
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"something else")
    with pytest.raises(SeesrError, match=r"not the published DAPE\.pth") as caught:
        install("sd2")
    assert str(wrong) in str(caught.value)


def test_a_file_that_does_not_fit_is_named_where_it_lies(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No hash is known of it: the strict reading of tensors finds it out. Nothing is left behind."""
    use_sources(monkeypatch, tmp_path, [str(published)])
    text = published / "stable-diffusion-2-base/text_encoder/model.safetensors"
    text.write_bytes(text.read_bytes()[:5000])
    with pytest.raises(SeesrError, match="cut short") as caught:
        install("sd2")
    assert str(text) in str(caught.value)
    assert [path.name for path in built_folder("sd2").parent.iterdir() if path.name != ".lock"] == []


def test_disk_space_is_checked_first(mirror: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_sources(monkeypatch, tmp_path, [mirror.url])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=5_000_000))
    with pytest.raises(SeesrError, match=r"sd2 needs 1\d MB of disk space .* 5 MB are free"):
        install("sd2")
    assert mirror.requests == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a JSON object"),
        ('{"mirror": []}', "unknown key 'mirror'"),
        ('{"mirrors": "https://x"}', "not a list"),
        ('{"files": {"DAPE": {}}}', "no file 'DAPE'"),
        ('{"files": {"DAPE.pth": {"sha256": "12"}}}', "64 hexadecimal"),
    ],
)
def test_sources_of_ones_own_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "sources.json").write_text(text)
    monkeypatch.setenv("SEESR_SOURCES", str(tmp_path / "sources.json"))
    with pytest.raises(SeesrError, match=words):
        weights_of("sd2")


def test_the_table_holds_together() -> None:
    for weight in WEIGHTS:
        assert weight.size > 0
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in weight.sha256)
        for place in weight.places:
            if place.startswith("hf://"):
                assert parse_hub_address(place).file.endswith(weight.path.rpartition("/")[2])
            else:
                assert place.startswith("https://")
    assert parse_hub_address("hf://spaces/a/b@c/d/e") == ("a/b", "space", "c", "d/e")
    assert parse_hub_address("hf://a/b/d") == ("a/b", "model", "main", "d")
    names = {name: {weight.path for weight in weights_of(name)} for name in ("sd2", "sd2-turbo")}
    assert "sd-turbo/unet/config.json" in names["sd2-turbo"] - names["sd2"]
    assert not any(path.startswith("stable-diffusion-2-base/unet") for path in names["sd2"])


def test_a_file_that_may_have_other_hashes_is_taken_with_a_word(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of DAPE.pth only copies have a known hash: another file is read strictly, and recorded."""
    use_sources(monkeypatch, tmp_path, [str(published)])
    table = tmp_path / "sources.json"
    sources = json.loads(table.read_text())
    del sources["files"]["DAPE.pth"]
    table.write_text(json.dumps(sources))
    install("sd2")
    found = sha256_of(published / "DAPE.pth")
    assert f"DAPE.pth is not one of the known files (sha256 {found})" in capsys.readouterr().err.replace("\n", "")
    record = json.loads((built_folder("sd2") / RECORD).read_text())
    assert record["sources"]["DAPE.pth"]["sha256"] == found


def test_one_of_several_hashes_is_enough(published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_sources(monkeypatch, tmp_path, [str(published)])
    table = tmp_path / "sources.json"
    sources = json.loads(table.read_text())
    sources["files"]["DAPE.pth"]["sha256"] = ["0" * 64, sources["files"]["DAPE.pth"]["sha256"]]
    table.write_text(json.dumps(sources))
    install("sd2")
    sources["files"]["DAPE.pth"]["sha256"] = ["0" * 64, "1" * 64]
    table.write_text(json.dumps(sources))
    shutil.rmtree(built_folder("sd2"))
    with pytest.raises(SeesrError, match=f"{'0' * 64} or {'1' * 64}"):
        install("sd2")
