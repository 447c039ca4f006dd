"""Node: everything in one, for those who want a larger picture and no wires."""

from typing import Any

from comfy_api.latest import io

from .. import inputs, sockets
from .load import model_inputs
from .restore import mask_input, profile_input


class Upscale(io.ComfyNode):
    """Loads a model, looks, restores, and keeps the colours, as `seesr upscale` does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrUpscale",
            display_name="SeeSR: upscale",
            category=sockets.CATEGORY,
            description="Restores and enlarges photos with the settings that suit the model.",
            inputs=[
                io.Image.Input("image"),
                *model_inputs(),
                profile_input(),
                *inputs.setting_inputs(("scale", "prompt", "seed", "detail", "engine")),
                mask_input(),
            ],
            outputs=[io.Image.Output("restored", display_name="image")],
        )

    @classmethod
    def execute(
        cls,
        image: Any,
        model: str,
        enlarger: str,
        dtype: str,
        offload: str,
        profile: str,
        mask: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..models import open_model
        from ..run import restore

        opened = open_model(model, enlarger, dtype, offload)
        restored, _, _ = restore(opened, image, profile, inputs.read_settings(settings), "", mask)
        return io.NodeOutput(restored)
