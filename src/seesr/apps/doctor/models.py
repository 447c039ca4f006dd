"""Which models are here, whole, and what to do about those that are not."""

import os
from pathlib import Path

from seesr.apps.doctor.report import ABSENT, OK, PROBLEM, Report
from seesr.errors import SeesrError


def examine_models(report: Report, wanted: str, verify: bool) -> Path | None:
    """The models by name and the wanted one; returns the folder of the wanted one if it can be used."""
    from seesr.checkpoints.download import find_locally, gigabytes
    from seesr.checkpoints.registry import BUILT, EMBEDDED, built_folder, is_built, is_hub_id, resolve
    from seesr.checkpoints.sources import VARIABLE, weights_of

    usable: Path | None = None
    for name in dict.fromkeys((*EMBEDDED, *BUILT, wanted)):
        state = PROBLEM if name in (wanted, *EMBEDDED) else ABSENT
        if name in BUILT and not is_built(name):
            try:
                lacking = sum(weight.size for weight in weights_of(name) if find_locally(weight) is None)
            except SeesrError as error:
                report.add(
                    "Models", name, PROBLEM if name == wanted else ABSENT, str(error), f"mend or unset {VARIABLE}"
                )
                continue
            state = PROBLEM if name == wanted else ABSENT
            text = f"not here, {gigabytes(lacking)} to fetch" if lacking else "fetched, to be built"
            report.add("Models", name, state, text, f"seesr download {name}")
            continue
        if is_hub_id(name):
            report.add("Models", name, OK, "on the hub, fetched at first use; not looked at")
            continue
        try:
            folder = built_folder(name) if name in BUILT else resolve(name)
            size, kind = check_model(folder, verify)
        except SeesrError as error:
            report.add("Models", name, state, str(error), _remedy(name))
            continue
        hashed = ", every number read" if verify else ""
        report.add("Models", name, OK, f"{kind}, {gigabytes(size)}, whole{hashed}")
        if name == wanted:
            usable = folder
    if overlay := os.environ.get(VARIABLE):
        report.add("Models", VARIABLE, OK, f"sources of your own: {overlay}")
    if os.environ.get("HF_HUB_OFFLINE"):
        report.add("Models", "HF_HUB_OFFLINE", OK, "set: nothing is downloaded")
    return usable


def check_model(folder: Path, verify: bool = False) -> tuple[int, str]:
    """Bytes of a model folder and what kind it is, after comparing the names and shapes of all its tensors.

    Args:
        verify: compare every file with the hash recorded when the model was built, or, where there is no record, read
            every tensor and look for NaN and infinity.

    Raises:
        SeesrError: a file is missing, cut short or damaged, or a tensor does not fit. The message names it.
    """
    from safetensors import SafetensorError, safe_open

    from seesr.checkpoints.files import check_finite, find_weights, report_mismatch
    from seesr.checkpoints.meta import meta_networks
    from seesr.checkpoints.registry import read_record
    from seesr.checkpoints.transfer import sha256_of
    from seesr.models.int8 import SCALE_SUFFIX

    networks = meta_networks(folder)
    record = read_record(folder)
    for name, network in networks.items():
        weights = find_weights(folder / name)
        expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        try:
            with safe_open(weights, "pt") as file:
                names = [key for key in file.keys() if not key.endswith(SCALE_SUFFIX)]  # noqa: SIM118
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in names}
                if verify and record is None:
                    check_finite({key: file.get_tensor(key) for key in file.keys()}, weights)  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SeesrError(f"{weights}: damaged or cut short ({error})") from error
        shapes = {key.removeprefix("text_model.") if key not in expected else key: s for key, s in shapes.items()}
        spare = [key for key in shapes if key not in expected and not key.endswith("position_ids")]
        report_mismatch(weights, [key for key in expected if key not in shapes], spare)
        for key, shape in expected.items():
            if shapes[key] != shape:
                raise SeesrError(f"{weights}: {key} has shape {shapes[key]}, the configuration asks for {shape}")
    for path, entry in (record or {}).get("files", {}).items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != entry["size"]:
            raise SeesrError(f"{file}: missing or not as long as it was when the model was built")
        if verify and sha256_of(file) != entry["sha256"]:
            raise SeesrError(f"{file}: not the bytes it had when the model was built")
    kind = "complete" if "unet" in networks else "an enlarger, no diffusion part"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), kind


def _remedy(name: str) -> str:
    from seesr.checkpoints.registry import BUILT, EMBEDDED, built_folder

    if name in EMBEDDED:
        return "pip install --force-reinstall --no-deps seesr"
    if name in BUILT:
        return f"rm -r {built_folder(name)} && seesr download {name}"
    return "see docs/models.md"
