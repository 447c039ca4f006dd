"""What ComfyUI asks for: the list of nodes, in its V3 schema."""

from comfy_api.latest import ComfyExtension, io

from .nodes.color_fix import FixColors
from .nodes.folder import LoadFolder
from .nodes.load import LoadModel
from .nodes.restore import MoreSettings, Restore
from .nodes.tags import SeeTags
from .nodes.upscale import Upscale


class SeesrExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [Upscale, LoadModel, LoadFolder, SeeTags, Restore, MoreSettings, FixColors]


async def comfy_entrypoint() -> SeesrExtension:
    """Called by ComfyUI once it has imported this package."""
    return SeesrExtension()
