"""A model as a folder that the hub takes as it is: card, licence, `pipeline.py`, index, weights as safetensors."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

import seesr
from seesr.checkpoints.download import why_unreachable
from seesr.checkpoints.hub_models import KINDS
from seesr.checkpoints.model_folder import mark_folder
from seesr.checkpoints.registry import EMBEDDED, RECORD, is_hub_id, resolve
from seesr.errors import SeesrError
from seesr.export.card import CARD, front_matter, write_card
from seesr.system.atomic import new_folder

LICENCE = "LICENSE"

_CODE = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
"""Weights whose files can hold programs: the hub marks them, and nothing here reads them from there."""


def export_hub(
    name: str, out: Path, licence: str | None = None, licence_file: Path | None = None, repo: str | None = None
) -> Path:
    """Write the model called `name` into the new folder `out`, ready for the hub.

    Args:
        licence: by the hub's id, as "apache-2.0"; for a model without a card that names it.
        licence_file: its text; for a model without a LICENSE.
        repo: id that the model will have on the hub, for a card that is written here.

    Raises:
        SeesrError: no such model, one whose weights are no safetensors, a licence that is missing or given twice, or a
            folder that is not new.
    """
    folder = resolve(name)
    _check_weights(name, folder)
    try:
        told = front_matter(folder / CARD)
    except ValueError as error:
        raise SeesrError(f"{folder / CARD}: its front matter cannot be read ({error}); mend it") from error
    has_text = (folder / LICENCE).is_file()
    if ("license" in told) == (licence is not None):
        raise SeesrError(
            f"{name}: its card names the licence; leave `license` out"
            if licence
            else f"{name} has no card that names its licence; give `license`, as apache-2.0"
        )
    if has_text == (licence_file is not None):
        raise SeesrError(
            f"{name} has a {LICENCE} of its own; leave `license_file` out"
            if has_text
            else f"{name} has no {LICENCE}; give the file of its text with `license_file`"
        )
    if licence_file is not None and not licence_file.is_file():
        raise SeesrError(f"{licence_file}: no such file")
    with new_folder(out) as workshop:
        for file in sorted(folder.rglob("*")):
            path = file.relative_to(folder)
            if file.is_file() and _belongs(path):
                (workshop / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, workshop / path)
                if path.suffix == ".json":
                    _forget_places(workshop / path)
        mark_folder(workshop)
        if licence_file is not None:
            shutil.copyfile(licence_file, workshop / LICENCE)
        if licence is not None:
            called = repo or (name if name in EMBEDDED else folder.resolve().name)
            (workshop / CARD).write_text(write_card(workshop, called, licence, LICENCE), encoding="utf-8")
    return out


def check_push(repo: str) -> None:
    """What can be known before a model is written.

    Raises:
        SeesrError: no id of a repository, no token, or no network.
    """
    if not is_hub_id(repo):
        raise SeesrError(f"{repo!r} is no id on the hub; give owner/name")
    if not hub.get_token():
        raise SeesrError("no token for the hub; run 'hf auth login' once, or set HF_TOKEN to one that may write")
    if hub.is_offline_mode():
        raise SeesrError("the hub is not asked while HF_HUB_OFFLINE is set; unset it")
    if why := why_unreachable(constants.ENDPOINT):
        raise SeesrError(f"the hub cannot be reached ({why})")


def push(folder: Path, repo: str, private: bool = False) -> str:
    """Put the files of `folder` into the model `repo` on the hub, which is made if it is not there, in one commit.

    Returns:
        The address of the commit.

    Raises:
        SeesrError: the hub refuses, or the connection breaks; nothing of the commit is there then.
    """
    api = hub.HfApi(endpoint=constants.ENDPOINT)
    again = f"{folder} is whole; try again with: hf upload {repo} {folder}"
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=f"Written by seesr {seesr.__version__}"
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        need = f" (the token needs write access to {repo.partition('/')[0]})" if status in (401, 403) else ""
        raise SeesrError(f"{repo}: the hub refused, HTTP {status}{need}; {again}") from error
    except Exception as error:  # of the libraries below: a card that the hub refuses, a connection that breaks
        raise SeesrError(f"{repo}: not pushed ({' '.join(str(error).split())}); {again}") from error
    return str(commit.commit_url)


def _check_weights(name: str, folder: Path) -> None:
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [file.name for file in part.iterdir() if file.is_file()]
        found = [file for file in files if any(fnmatch(file, pattern) for pattern in _CODE)]
        if found and not any(file.endswith(".safetensors") for file in files):
            raise SeesrError(
                f"{name}: {part.name} has its weights in {found[0]}, which the hub takes for a program; load the model "
                "and write it anew with save_pretrained, which makes safetensors"
            )


def _belongs(path: Path) -> bool:
    """Whether a file is part of the model: of a known kind, not hidden, not a note about this machine."""
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    kept = path.name in (CARD, LICENCE, "NOTICE") or any(fnmatch(path.name, kind) for kind in KINDS)
    return kept and not hidden and path.name != RECORD


def _forget_places(file: Path) -> None:
    """Take where the model lay on this machine out of a component's config."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
