"""What is set and what is loaded when the package is imported; in processes of their own, whose torch is not loaded."""

import os
import subprocess
import sys

import pytest

_NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_HEAVY = {"torch", "diffusers", "transformers", "accelerate", "gradio", "ray", "numpy", "PIL", "scipy", "matplotlib"}


def run(program: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _NAMES} | variables
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert made.stderr == ""
    return made.stdout.strip()


_SHOW = f"import os; print([os.environ.get(name) for name in {_NAMES}])"


@pytest.mark.parametrize("module", ["seesr", "seesr.apps.cli", "seesr.training", "seesr.data", "seesr.errors"])
def test_waiting_threads_sleep_by_default(module: str) -> None:
    assert run(f"import {module}; {_SHOW}") == "['passive', None, None]"


def test_openmp_itself_is_told_in_time() -> None:
    """GNU's OpenMP says how many rounds a waiting thread spins: 300000 if it is not told otherwise."""
    program = "import seesr, torch; torch.ones(1)"
    environment = {name: value for name, value in os.environ.items() if name not in _NAMES}
    environment["OMP_DISPLAY_ENV"] = "verbose"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment).stderr
    if "GOMP_SPINCOUNT" not in told:
        pytest.skip("PyTorch is not built with GNU's OpenMP here")
    assert "GOMP_SPINCOUNT = '0'" in told


@pytest.mark.parametrize("name", _NAMES)
def test_a_setting_of_the_users_own_is_left_alone(name: str) -> None:
    assert run(f"import seesr; {_SHOW}", **{name: "7"}) == str(["7" if each == name else None for each in _NAMES])


def test_nothing_is_set_where_torch_is_loaded() -> None:
    assert run(f"import torch, seesr; {_SHOW}") == "[None, None, None]"


@pytest.mark.parametrize(
    "program",
    [
        "import seesr",
        "import sys; from seesr.apps.cli import main\nsys.argv = ['seesr', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass",
    ],
)
def test_what_is_heavy_is_not_loaded_before_it_is_used(program: str) -> None:
    loaded = run(f"{program}\nimport sys; print(sorted({_HEAVY} & set(sys.modules)))")
    assert loaded.splitlines()[-1] == "[]"
