"""For ComfyUI, which imports a repository cloned into `custom_nodes`; the nodes are in `comfyui`."""

from .comfyui import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
