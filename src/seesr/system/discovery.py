"""diffusers told of our pipeline, so that its own `DiffusionPipeline.from_pretrained` loads our folders.

A folder's index names `pipeline.py` and the class in it, which diffusers runs with `trust_remote_code=True` only. Once
this package is imported, the class is here and nothing of the folder need be run. diffusers has no registry for that,
and importing it takes seconds; so the one function that looks for the class is wrapped when diffusers is imported.
"""

import sys
from collections.abc import Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_MODULE = "diffusers.pipelines.pipeline_utils"
_FUNCTION = "_get_pipeline_class"
_CLASS = "SeeSRPipeline"


def announce() -> None:
    """Wrap diffusers' look-up, now if it is imported, else when it will be."""
    if _MODULE in sys.modules:
        _wrap(sys.modules[_MODULE])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _wrap(module: ModuleType) -> None:
    original = getattr(module, _FUNCTION, None)
    if original is None or hasattr(original, "__wrapped__"):
        return  # without it, folders load with trust_remote_code=True

    @wraps(original)
    def get_pipeline_class(class_obj: Any, config: Any = None, *arguments: Any, **options: Any) -> Any:
        named = options.get("class_name") or (config or {}).get("_class_name")
        if _CLASS in (named[-1] if isinstance(named, list | tuple) else named, class_obj.__name__):
            return getattr(import_module("seesr"), _CLASS)
        return original(class_obj, config, *arguments, **options)

    setattr(module, _FUNCTION, get_pipeline_class)


class _Finder(MetaPathFinder):
    """Finds diffusers' module as usual, and has it wrapped once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Wrapping(spec.loader)
        return spec


class _Wrapping(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _wrap(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # what else a loader can do, such as showing its source
