"""As much of ComfyUI as SeeSR's nodes touch: its V3 node protocol, progress bar, interrupt, folders, memory management.

`install` puts it into `sys.modules`; `load_nodes` imports a folder of nodes as ComfyUI does; `Run` executes a node with
its inputs checked against its schema.
"""

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class Interrupted(Exception):
    """ComfyUI's InterruptProcessingException."""


class Input:
    def __init__(self, id: str, *, optional: bool = False, **about: Any) -> None:
        self.id, self.optional, self.about = id, optional, about
        assert about.get("default") is None or not about.get("options") or about["default"] in about["options"]

    def checked(self, value: Any) -> Any:
        """A widget's value, or an error where ComfyUI refuses it."""
        assert not self.about.get("options") or value in self.about["options"], f"{self.id} has no choice {value!r}"
        if isinstance(value, int | float):
            assert self.about.get("min", value) <= value <= self.about.get("max", value), f"{self.id}: {value}"
        return value


class Output:
    def __init__(self, id: str, *, display_name: str = "", tooltip: str = "", is_output_list: bool = False) -> None:
        self.id, self.is_output_list, self.shown = id, is_output_list, display_name or id


def custom(name: str) -> Any:
    return type(name, (), {"Input": type("Input", (Input,), {"kind": name}), "Output": Output})


class Schema:
    def __init__(self, *, node_id: str, inputs: list[Input], outputs: list[Output], **about: Any) -> None:
        self.node_id, self.inputs, self.outputs, self.about = node_id, inputs, outputs, about
        names = [each.id for each in (*inputs, *outputs)]
        assert len(names) == len(set(names)), f"{node_id}: ids must be unique between inputs and outputs"


class ComfyNode:
    pass


class NodeOutput:
    def __init__(self, *args: Any) -> None:
        self.args = args


class Comfy:
    """What a test sees of it. moves: (value, total, preview) of the bar; interrupt_at: moves after which to stop."""

    def __init__(self, folder: Path) -> None:
        self.models, self.input = folder / "models", folder / "input"
        self.moves: list[tuple[float, float, Any]] = []
        self.interrupt_at: int | None = None
        self.loaded: list[Any] = []

    def check_interrupt(self) -> None:
        if self.interrupt_at is not None and len(self.moves) >= self.interrupt_at:
            raise Interrupted

    def modules(self) -> dict[str, ModuleType]:
        """By the names under which the nodes import them."""
        kinds = {name: custom(name) for name in ("Boolean", "Int", "Float", "String", "Combo", "Image", "Mask")}
        node = {"Input": Input, "Custom": custom, "Schema": Schema, "ComfyNode": ComfyNode, "NodeOutput": NodeOutput}
        comfy = self

        class Bar:
            def __init__(self, total: int) -> None: ...

            def update_absolute(self, value: float, total: float, preview: Any = None) -> None:
                comfy.moves.append((value, total, preview))
                comfy.check_interrupt()

        class Patcher:
            def __init__(self, model: Any, load_device: Any, offload_device: Any) -> None:
                self.model, self.load_device = model, load_device
                model.device = offload_device  # as ComfyUI does

        def cpu(*_: Any) -> Any:
            return sys.modules["torch"].device("cpu")

        def load(patchers: list[Patcher], memory_required: int = 0) -> None:
            for patcher in patchers:
                patcher.model.to(patcher.load_device)
            comfy.loaded += patchers

        made = {
            "comfy": {},
            "comfy.utils": {"ProgressBar": Bar},
            "comfy.model_patcher": {"ModelPatcher": Patcher},
            "comfy.model_management": {
                "throw_exception_if_processing_interrupted": self.check_interrupt,
                "get_torch_device": cpu,
                "unet_offload_device": cpu,
                "load_models_gpu": load,
                "free_memory": lambda size, device: [],
                "module_size": lambda module: sum(p.numel() * p.element_size() for p in module.parameters()),
            },
            "comfy_api": {},
            "comfy_api.latest": {
                "ComfyExtension": type("ComfyExtension", (), {}),
                "io": SimpleNamespace(**kinds, **node),
            },
            "folder_paths": {
                "models_dir": str(self.models),
                "add_model_folder_path": lambda name, path: None,
                "get_folder_paths": lambda name: [str(self.models / name)],
                "get_filename_list": lambda name: sorted(path.name for path in (self.models / name).glob("*")),
                "get_full_path_or_raise": lambda name, file: str(self.models / name / file),
                "get_input_directory": lambda: str(self.input),
            },
        }
        found = {}
        for name, contents in made.items():
            found[name] = ModuleType(name)
            vars(found[name]).update(contents)
        for name in list(found):
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(found[parent], child, found[name])
        return found


def load_nodes(folder: Path) -> dict[str, type]:
    """Import a folder of `custom_nodes` under ComfyUI's name for it, and ask for its nodes by their ids."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def ask() -> list[Any]:
        extension = await module.comfy_entrypoint()
        return await extension.get_node_list()

    return {node.define_schema().node_id: node for node in asyncio.run(ask())}


def widgets(node: Any) -> dict[str, Any]:
    """The inputs of a node that have a value of their own, with that."""
    return {each.id: each.about["default"] for each in node.define_schema().inputs if "default" in each.about}


def run(node: Any, **inputs: Any) -> tuple[Any, ...]:
    """What a node gives for `inputs` and its widgets' defaults."""
    schema = node.define_schema()
    known = {each.id: each for each in schema.inputs}
    given = {**widgets(node), **inputs}
    missing = [each.id for each in schema.inputs if not each.optional and each.id not in given]
    assert not missing, f"{schema.node_id} needs {missing}"
    result = node.execute(**{name: known[name].checked(value) for name, value in given.items()})
    assert len(result.args) == len(schema.outputs)
    outputs: tuple[Any, ...] = result.args
    return outputs
