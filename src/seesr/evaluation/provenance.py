"""One hash of what a cached figure or picture was computed with: our source code and the libraries' versions.

Figures and pictures of an evaluation are kept between runs. They are valid as long as nothing they depend on has
changed: the inputs, the settings and the weights, which the callers hash, and the code, which is hashed here.
"""

import ast
import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import seesr

_PACKAGE = "seesr"
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "skimage": "scikit-image", "cv2": "opencv-python-headless"}
"""Import name → name of the distribution, where they differ."""


@cache
def code_hash(module: str) -> str:
    """Hash of a module of this package, of every module of the package that it imports, however far down, and of the
    versions of the other packages that these import.

    Imports within functions count; comments, docstrings and layout do not.
    """
    libraries: set[str] = set()
    code: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name in code:
            continue
        tree = _tree(name)
        code[name] = ast.dump(tree)
        for imported in _imports(tree):
            if imported.partition(".")[0] != _PACKAGE:
                libraries.add(imported.partition(".")[0])
            elif found := _module(imported):
                todo.append(found)
    return hashlib.sha256(repr((sorted(code.items()), _versions(libraries))).encode()).hexdigest()


def _tree(module: str) -> ast.Module:
    """The module's code without docstrings."""
    tree = ast.parse(_source(module))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [part for part in node.body if not _is_text(part)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module) -> list[str]:
    """Dotted names of what is imported; of `from a import b`, `a.b`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _module(name: str) -> str | None:
    """The module of this package that holds `name`, which may be a module or something in one."""
    while name:
        if _file(name).is_file():
            return name
        name = name.rpartition(".")[0]
    return None


def _source(module: str) -> str:
    return _file(module).read_text()


def _file(module: str) -> Path:
    place = Path(str(seesr.__file__)).parent.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _versions(libraries: set[str]) -> list[tuple[str, str]]:
    """Versions of those that are installed as distributions, which modules of the standard library are not."""
    found = []
    for name in sorted(libraries):
        try:
            found.append((name, version(_DISTRIBUTIONS.get(name, name))))
        except PackageNotFoundError:
            continue
    return found
