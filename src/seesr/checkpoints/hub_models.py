"""Models on the hub by id: the files of a model folder, fetched into the cache that other tools share."""

from functools import lru_cache
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from seesr.checkpoints.download import bars, check_space, from_hub, gigabytes, parse_hub_address, say, why_unreachable
from seesr.checkpoints.sources import Weight
from seesr.checkpoints.transfer import Unavailable
from seesr.errors import SeesrError

KINDS = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""Files of a model folder; weights in other formats can run code when they are read, and are left where they are."""


@lru_cache
def fetch_model(name: str) -> Path:
    """The folder of the model `owner/name` in the hub's cache; what is missing there is fetched, once.

    A file that did not come whole is fetched again by the next call. Without a network, or with HF_HUB_OFFLINE, what is
    cached is used.

    Raises:
        SeesrError: no such model, one that is no model folder, too little disk space, or no network.
    """
    offline = "HF_HUB_OFFLINE is set" if hub.is_offline_mode() else why_unreachable(constants.ENDPOINT)
    folder = _cached(name, offline) if offline else _fetched(name)
    if not (folder / "model_index.json").is_file():
        raise SeesrError(f"{name}: not a model for seesr (it has no model_index.json)")
    return folder


def _cached(name: str, offline: str) -> Path:
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise SeesrError(f"{name}: cannot be fetched from the hub ({offline}), and is not in its cache") from None


def _fetched(name: str) -> Path:
    try:
        plan = hub.snapshot_download(name, allow_patterns=KINDS, dry_run=True)
    except HfHubHTTPError as error:
        reason = f"{type(error).__name__.removesuffix('Error')}, HTTP {error.response.status_code}"
        raise SeesrError(f"{name}: cannot be fetched from the hub ({reason})") from error
    except Exception as error:  # of the libraries below, when the connection breaks between two questions
        raise SeesrError(f"{name}: cannot be fetched from the hub ({str(error).partition(chr(10))[0]})") from error
    if not plan:
        raise SeesrError(f"{name}: not a model for seesr (it has no model_index.json)")
    place = f"hf://{name}@{plan[0].commit_hash}"
    missing = [
        Weight(file.filename, (f"{place}/{file.filename}",), file.file_size or 0, (), constants.ENDPOINT)
        for file in plan
        if file.will_download
    ]
    if missing:
        check_space(name, missing, 0)
        say(f"{name}: fetching {gigabytes(sum(weight.size for weight in missing))}, once")
    with bars() as bar:
        for weight in missing:
            try:
                from_hub(parse_hub_address(weight.places[0]), weight, {"hub": ""}, bar(weight))
            except Unavailable as reason:
                raise SeesrError(
                    f"{name}: {weight.path} cannot be fetched from the hub ({reason}); run the same command again"
                ) from reason
    return Path(hub.snapshot_download(name, revision=plan[0].commit_hash, local_files_only=True))
