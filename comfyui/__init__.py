"""SeeSR's nodes for ComfyUI: load, tag, restore, fix colours, and all of it in one.

ComfyUI finds them whether the whole repository or this folder alone stands in `custom_nodes`. Nothing heavy is imported
here: a node imports PyTorch and the networks when it runs.
"""

from . import library

library.provide()

from .extension import comfy_entrypoint  # noqa: E402  after the path to seesr is set

__all__ = ["comfy_entrypoint"]
