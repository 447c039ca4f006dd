"""Links that leave docs/: what they lead to becomes part of the site, so that they work there as on a code host.

A hook of MkDocs (mkdocs.yml names it). A page outside of docs/ is built as repository/PATH, any other file is copied
there. A link to a folder, or to a file that is missing, is a warning, which `mkdocs build --strict` counts as an error.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
COPIED = "repository/"
_PARTS = re.compile(r"^```.*?^```$|`[^`\n]*`|(?<=\]\()([^)\s]+)(?=\))", re.MULTILINE | re.DOTALL)
"""Code, which is left as it is, or the target of a link."""
_log = logging.getLogger("mkdocs.hooks.repository")


def repository_path(src_uri: str) -> str:
    """Where a file of the site lies in the repository."""
    return src_uri.removeprefix(COPIED) if src_uri.startswith(COPIED) else DOCS + src_uri


def site_path(path: str) -> str:
    """Where a file of the repository lies in the site."""
    return path.removeprefix(DOCS) if path.startswith(DOCS) else COPIED + path


def target_of(link: str, page: str) -> tuple[str, str] | None:
    """Path in the repository that a link of `page` leads to, and its anchor; None for other sites and this page."""
    path, _, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)), anchor


def linked(page: str) -> Iterator[str]:
    """Paths in the repository that a page links to."""
    for found in _PARTS.finditer((ROOT / page).read_text(encoding="utf-8")):
        if found[1] and (target := target_of(found[1], page)):
            yield target[0]


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to outside of docs/, and what these link to."""
    waiting = [repository_path(file.src_uri) for file in files.documentation_pages()]
    waiting += _pages_in(config.nav)
    while waiting:
        path = waiting.pop()
        if not path.startswith(DOCS) and site_path(path) not in files.src_uris:
            if not (ROOT / path).is_file():
                _log.warning("a link leads to %s, which is no file", path)
                continue
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
        if path.endswith(".md") and not path.startswith(DOCS):
            waiting += [other for other in linked(path) if site_path(other) not in files.src_uris]
        elif path.endswith(".md"):
            waiting += [other for other in linked(path) if not other.startswith(DOCS)]
    return files


def _pages_in(nav: Any) -> list[str]:
    """Paths in the repository of the navigation's pages from outside of docs/."""
    if isinstance(nav, str):
        return [repository_path(nav)] if nav.startswith(COPIED) else []
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in _pages_in(part)]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at where their targets lie in the site."""
    here = page.file.src_uri

    def moved(found: re.Match[str]) -> str:
        target = found[1] and target_of(found[1], repository_path(here))
        if not target:
            return found[0]
        path = posixpath.relpath(site_path(target[0]), posixpath.dirname(here))
        return f"{path}#{target[1]}" if target[1] else path

    return _PARTS.sub(moved, markdown)
