"""The web server: pictures in and out by its API, what it refuses, what it counts, what it lets nobody see."""

import base64
import io
import json
import logging
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import ExifTags, Image, ImageChops, ImageStat

pytest.importorskip("gradio", reason="needs the extra web")
import httpx

from seesr.apps.web.jobs import Limits
from seesr.apps.web.server import Access, running
from seesr.loading import load_restorer, load_tagger
from seesr.photos.photo import read_photo

EXAMPLE = Path(__file__).parents[3] / "examples" / "cat.jpg"
LIMITS = Limits(upload_bytes=300_000, megapixels=1.0, waiting=4, per_visitor=50)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    restorer = load_restorer("mini", torch.float32, torch.device("cpu"), profile="fast")
    with running(restorer, LIMITS, Access(port=0)) as found:
        yield found.rstrip("/")


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=120) as made:
        yield made


def small_photo(size: tuple[int, int] = (24, 16), **options: Any) -> bytes:
    content = io.BytesIO()
    Image.open(EXAMPLE).resize(size).save(content, "JPEG", **options)
    return content.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def error_of(response: httpx.Response) -> str:
    found = response.json()["error"]
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["message"]
    return str(found["kind"])


def test_a_photo_is_restored_and_keeps_its_metadata(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "me"
    photo = small_photo(exif=exif.tobytes())
    response = client.post("/v1/restore", files={"photo": ("../../etc/a b.jpg", photo)}, data={"format": "jpg"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b-restored.jpg"
    restored = opened(response.content)
    assert restored.size == (96, 64)
    assert restored.getexif()[ExifTags.Base.Artist] == "me"
    reduced = restored.convert("RGB").resize((24, 16), Image.Resampling.BOX)
    assert (
        max(ImageStat.Stat(ImageChops.difference(reduced, opened(photo).convert("RGB"))).mean) < 8
    )  # the same picture


def test_json_takes_base64_and_settings(client: httpx.Client) -> None:
    image = base64.b64encode(small_photo()).decode()
    for prefix in ("", "data:image/jpeg;base64,"):
        asked = {"image": prefix + image, "settings": {"scale": 2}, "format": "webp"}
        response = client.post("/v1/restore", json=asked)
        assert response.status_code == 200, response.text
        assert opened(response.content).size == (48, 32)


def test_a_job_from_its_start_to_its_removal(client: httpx.Client) -> None:
    made = client.post(
        "/v1/jobs", files={"photo": ("cat.jpg", small_photo((80, 60)))}, data={"settings": '{"scale": 2}'}
    )
    assert made.status_code == 202
    place = made.headers["location"]
    states = []
    with client.stream("GET", f"{place}/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: ")))
    assert states[-1]["state"] == "done"
    assert "cat" in [tag["name"] for tag in states[-1]["result"]["tags"] if len(tag["map"]) == 8]
    assert {"tags", "enlarge"} <= {state["stage"] for state in states if state["stage"]} | {"tags"}
    for suffix, kind in {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF"}.items():
        assert opened(client.get(f"{place}/result", params={"format": suffix}).content).format == kind
    assert (
        opened(client.get(f"{place}/before.webp").content).size
        == opened(client.get(f"{place}/after.webp").content).size
    )
    archive = zipfile.ZipFile(
        io.BytesIO(client.get("/v1/zip", params={"jobs": f"{made.json()['id']},{made.json()['id']}"}).content)
    )
    assert archive.namelist() == ["cat.png", "cat-2.png"]
    assert client.delete(place).status_code == 204
    assert error_of(client.get(place)) == "no_job"
    assert error_of(client.get(f"{place}/result")) == "no_job"


def test_tags_alone(client: httpx.Client) -> None:
    found = client.post("/v1/tags", files={"photo": EXAMPLE.read_bytes()}).json()["tags"]
    (cat,) = (tag for tag in found if tag["name"] == "cat")
    assert cat["probability"] > 0.5
    rows = cat["map"]  # where it is seen: the same as the library says
    seen, maps = load_tagger("mini", torch.float32, torch.device("cpu")).look_where(read_photo(EXAMPLE).rgb)
    wanted = maps[[tag.name for tag in seen].index("cat")]
    torch.testing.assert_close(torch.tensor(rows), wanted, rtol=0, atol=0.006)
    assert max(map(max, rows)) == 1


def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def bomb() -> bytes:
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "empty"),
        (b"not a picture", 422, "not_restored"),
        (svg(), 422, "not_restored"),
        (small_photo()[:200], 422, "not_restored"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, 422, "not_restored"),
        (b"GIF89a<script>alert(1)</script>" + small_photo(), 422, "not_restored"),
        (b"x" * 300_001, 413, "too_large"),
        (b"x" * 900_000, 413, "too_large"),
    ],
)
def test_bad_files_get_a_reason_and_the_server_goes_on(
    client: httpx.Client, content: bytes, status: int, kind: str
) -> None:
    response = client.post("/v1/restore", files={"photo": ("\x1b[31mred\r\n.png", content)})
    assert (response.status_code, error_of(response)) == (status, kind)
    assert "seesr-web-" not in response.text  # no place of the server's
    assert client.get("/health").json()["status"] == "ok"


def test_a_decompression_bomb_is_refused_before_it_unpacks(client: httpx.Client) -> None:
    response = client.post("/v1/restore", files={"photo": bomb()})
    assert response.status_code == 422
    assert "over the limit of 1000000" in response.json()["error"]["message"]
    too_large = client.post("/v1/restore", files={"photo": small_photo((300, 300))}, data={"settings": '{"scale": 16}'})
    assert "megapixels" in too_large.json()["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": "big"}, "scale"),
        ({"scale": -1}, "scale"),
        ({"nonsense": 1}, "nonsense"),
        ({"profile": "no-such"}, "no profile 'no-such'"),
        ({"color_fix": "purple"}, "color_fix"),
        ({"memory": "4GB"}, "memory"),
        ({"profile": "fast", "num_inference_steps": 4}, "diffusion"),
    ],
)
def test_wrong_settings_are_named(client: httpx.Client, settings: dict[str, Any], words: str) -> None:
    response = client.post("/v1/restore", files={"photo": small_photo()}, data={"settings": json.dumps(settings)})
    assert (response.status_code, error_of(response)) == (422, "wrong_settings")
    assert words in response.json()["error"]["message"]


def test_wrong_requests(client: httpx.Client) -> None:
    assert error_of(client.post("/v1/restore", content=b"x", headers={"content-type": "text/plain"})) == "wrong_type"
    assert error_of(client.post("/v1/restore", data={"settings": "{}"}, files={"other": b"x"})) == "no_photo"
    assert error_of(client.post("/v1/restore", json={"image": "not base64!"})) == "wrong_image"
    assert (
        error_of(client.post("/v1/restore", content=b"{", headers={"content-type": "application/json"}))
        == "wrong_settings"
    )
    assert error_of(client.get("/v1/jobs/nonsense")) == "no_job"
    bad = client.post("/v1/restore", files={"photo": small_photo()}, data={"settings": "{"})
    assert error_of(bad) == "wrong_settings"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/dev/reload",
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/page.py",
        "/static/x",
    ],
)
def test_nothing_else_can_be_seen(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_browsers_are_told(client: httpx.Client) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    foreign = client.post("/v1/jobs", files={"photo": small_photo()}, headers={"origin": "https://evil.example"})
    assert foreign.headers.get("access-control-allow-origin") not in ("*", "https://evil.example")


def test_figures_and_logs(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "seesr.web"):
        response = client.post("/v1/restore", files={"photo": small_photo()})
        client.post("/v1/restore", files={"photo": b"junk"})
        text = client.get("/metrics").text
    assert 'seesr_jobs_total{state="done"}' in text
    assert 'seesr_failures_total{kind="not_restored"}' in text
    assert "seesr_queue_length 0.0" in text
    assert 'seesr_stage_seconds_count{stage="enlarge"}' in text
    entries = [json.loads(record.message) for record in caplog.records]
    assert {"path": "/v1/restore", "status": 200}.items() <= entries[0].items()
    assert entries[0]["request_id"] == response.headers["x-request-id"]


def test_openapi_describes_it(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert {"/v1/restore", "/v1/jobs", "/v1/tags", "/v1/jobs/{number}/events"} <= described["paths"].keys()
    assert "multipart/form-data" in described["paths"]["/v1/restore"]["post"]["requestBody"]["content"]


def test_gradios_client(address: str, tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    photo = tmp_path / "a.jpg"
    photo.write_bytes(small_photo())
    client = gradio_client.Client(address, verbose=False)
    found = client.predict(gradio_client.handle_file(str(photo)), {"scale": 2}, "png", 95, api_name="/restore")
    assert opened(base64.b64decode(found["picture"].partition("base64,")[2])).size == (48, 32)
    with pytest.raises(Exception, match=r"."):
        client.predict(
            {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, {}, "png", 95, api_name="/restore"
        )


def test_the_snippets_of_the_docs(address: str, tmp_path: Path) -> None:
    """The curl command and the Python program of docs/web.md, as they stand there."""
    page = (EXAMPLE.parents[1] / "docs" / "web.md").read_text().replace("http://127.0.0.1:7860", address)
    (tmp_path / "cat.jpg").write_bytes(small_photo((40, 30)))
    for fence, command in {"bash": ["bash", "-ec"], "python": [sys.executable, "-c"]}.items():
        program = page.partition(f"```{fence}\n")[2].partition("```")[0].replace("examples/cat.jpg", "cat.jpg")
        assert program, fence
        done = subprocess.run([*command, program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert opened((tmp_path / "restored.jpg").read_bytes()).size == (80, 60)
    assert opened((tmp_path / "restored.png").read_bytes()).size == (160, 120)


def test_a_password_and_a_key() -> None:
    restorer = load_restorer("mini", torch.float32, torch.device("cpu"), profile="fast")
    access = Access(port=0, auth=("me", "secret"), api_key="key")
    with running(restorer, LIMITS, access) as address, httpx.Client(base_url=address) as client:
        assert client.get("/health").status_code == 200
        denied = client.get("/v1/settings")
        assert (denied.status_code, error_of(denied)) == (401, "login")
        assert denied.headers["www-authenticate"].startswith("Basic")
        assert client.get("/v1/settings", auth=("me", "wrong")).status_code == 401
        assert client.get("/gradio_api/info").status_code == 401
        assert client.get("/v1/settings", auth=("me", "secret")).status_code == 200
        for headers in ({"X-API-Key": "key"}, {"Authorization": "Bearer key"}):
            assert client.get("/v1/settings", headers=headers).status_code == 200


def test_a_busy_server_says_when_to_come_back(client: httpx.Client) -> None:
    large = EXAMPLE.read_bytes()
    answers = [client.post("/v1/jobs", files={"photo": large}) for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert error_of(refused[0]) == "busy"
    assert int(refused[0].headers["retry-after"]) >= 1
    for answer in answers:
        if answer.status_code == 202:
            client.delete(answer.headers["location"])
    end = time.monotonic() + 60
    while client.get("/health").json()["queue_length"] and time.monotonic() < end:
        time.sleep(0.05)
    assert client.get("/health").json()["queue_length"] == 0
