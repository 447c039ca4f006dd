"""The one settings object, and all that is made of it."""

import importlib.util
import inspect
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from conftest import ROOT
from seesr import SeesrError, Settings
from seesr.restoration.keywords import SettingsKeywords
from seesr.restoration.profiles import ENLARGER_ONLY, FAST, PAPER, choose_profile
from seesr.restoration.remarks import remarks
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import SPECS, TileBlend, describe_settings, find_setting
from seesr.tiling.geometry import BLENDS


def test_keywords_are_the_fields_in_names_and_types() -> None:
    fields = {name: hint | None for name, hint in get_type_hints(Settings).items()}
    assert get_type_hints(SettingsKeywords) == fields
    shown = inspect.signature(Restorer.__call__).parameters
    assert {name: shown[name].annotation for name in fields} == fields
    assert all(f"{name}: " in (Restorer.__call__.__doc__ or "") for name in fields)


def test_what_is_written_of_them_is_up_to_date() -> None:
    script = ROOT / "docs" / "write_settings.py"
    spec = importlib.util.spec_from_file_location("write_settings", script)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.settings_page(), "run python docs/write_settings.py"
    assert module.KEYWORDS.read_text() == module.keywords_module(), "run python docs/write_settings.py"


def test_every_setting_is_described() -> None:
    described = json.loads(json.dumps(describe_settings()))
    assert described.keys() == SPECS.keys()
    assert described["fidelity"] | {"description": ""} == {
        "title": "fidelity",
        "description": "",
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.0,
        "group": "sampling",
        "option": "--fidelity",
        "in_profile": True,
        "diffusion": True,
    }
    assert described["start_point"]["enum"] == ["lr", "noise", "lr-clean"]
    assert described["scale"]["exclusiveMinimum"] == 0
    assert get_args(TileBlend) == BLENDS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": "4"}, "`scale` cannot be '4'; give a number more than 0"),
        ({"scale": float("inf")}, "`scale` cannot be inf"),
        ({"scale": 0}, "`scale` cannot be 0"),
        ({"fidelity": float("nan")}, "`fidelity` cannot be nan"),
        ({"num_inference_steps": 2.5}, "give a whole number from 0 to 1000"),
        ({"tags": "dog"}, "`tags` cannot be 'dog'; give a list of words"),
        ({"seed": -1}, "`seed` cannot be -1"),
        ({"bits": 12}, "give 8 or 16"),
        ({"color_fix": "sepia"}, "give adain, wavelet or none"),
        ({"guidance_interval": (0.8, 0.2)}, "the smaller first"),
        ({"scheduler": "no-such-thing"}, "no scheduler 'no-such-thing'; there are ddpm"),
        ({"latent_tile_overlap": 96}, "must be less than `latent_tile_size`, which is 96"),
        ({"start_timestep": 10}, "at least `num_inference_steps`"),
        ({"num_steps": 3}, "no setting 'num_steps'"),
        ({"guidance_scal": 3}, "did you mean `guidance_scale`?"),
    ],
)
def test_wrong_values_are_refused_in_one_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(SeesrError) as caught:
        ENLARGER_ONLY.with_overrides(num_inference_steps=20, start_timestep=0).with_overrides(**wrong)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_read_as_people_write_them() -> None:
    assert Settings(color_fix="AdaIN", scheduler="DPM++", scale=2) == Settings(scheduler="dpm++", scale=2.0)  # type: ignore[arg-type]
    assert Settings(tags=["a", "b"]).tags == ("a", "b")
    assert Settings().with_overrides(seed=None, tags=[]).seed == 0
    for name in ("steps", "--steps", "num_inference_steps", "num-inference-steps"):
        assert find_setting(name).name == "num_inference_steps"
    assert find_setting("guidance-interval").parse("0.2, 0.8") == (0.2, 0.8)
    assert find_setting("tile-tags").parse("ON") is True
    assert find_setting("tags").parse("") == ()


def test_a_profile_keeps_what_profiles_may_set() -> None:
    kept = FAST.to_dict()
    assert Settings.from_dict(json.loads(json.dumps(kept))) == FAST
    assert not kept.keys() & {"scale", "seed", "tags", "prompt", "memory", "bits"}
    with pytest.raises(SeesrError, match=r"unknown settings \['speed'\]"):
        Settings.from_dict({"speed": 3})


def test_paper_means_the_papers_settings() -> None:
    """Also where a folder of an older version calls something else so."""
    assert choose_profile("paper", {"diffusion": FAST.to_dict()}, True) == PAPER == Settings()
    assert choose_profile("paper", {"paper": PAPER.to_dict()}, True) == PAPER
    with pytest.raises(SeesrError, match="rename it to 'diffusion'"):
        choose_profile("paper", {"paper": FAST.to_dict()}, True)
    assert PAPER.with_overrides(seed=3, scale=2, tags=["cat"]).is_paper
    assert not PAPER.with_overrides(guidance_scale=5.4).is_paper


def test_settings_without_effect_are_told() -> None:
    def told(base: Settings, **given: Any) -> list[str]:
        return remarks(given, base, base.with_overrides(**given), ["cat", "dog"])

    (line,) = told(ENLARGER_ONLY, seed=1, tags=["cat"], scale=2.0, fidelity=None, color_fix="none")
    assert line.startswith("`seed`, `tags` have no effect without denoising steps")
    assert told(ENLARGER_ONLY, seed=1, num_inference_steps=3) == []
    assert told(PAPER, guidance_scale=1.0, negative_prompt="x")[0].startswith("`negative_prompt` has no effect")
    assert told(PAPER, exclude_tags=["kat"]) == ["`exclude_tags`: no tag is called 'kat'; did you mean 'cat'?"]
    assert told(PAPER, exclude_tags=["Cat", "a hat"], tags=["a hat"]) == []


def test_library_and_command_line_have_no_words_of_each_other() -> None:
    """No message below the commands tells of an option."""
    rooms = ("restoration", "photos", "tiling", "models")
    for room in rooms:
        for path in Path(ROOT, "src/seesr", room).rglob("*.py"):
            assert not any(f"--{spec.option} " in path.read_text() for spec in SPECS.values()), path
