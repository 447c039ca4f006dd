"""Node: the photo's colours given to a restored picture, whoever restored it."""

from typing import Any

from comfy_api.latest import io

from .. import sockets

METHODS = ("wavelet", "adain")


class FixColors(io.ComfyNode):
    """Colour fix by wavelets or by AdaIN (StableSR, section 3.4)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrFixColors",
            display_name="SeeSR: fix colours",
            category=sockets.CATEGORY,
            description="Gives a picture the colours of the photo that it was made from.",
            inputs=[
                io.Image.Input("image", tooltip="Restored pictures."),
                io.Image.Input("photo", tooltip="Their photos, of any size; one for all, or one for each."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="wavelet: colours of every place. adain: mean and contrast of the whole picture.",
                ),
            ],
            outputs=[io.Image.Output("fixed", display_name="image")],
        )

    @classmethod
    def execute(cls, image: Any, photo: Any, method: str) -> io.NodeOutput:
        from ..run import fix_colors

        return io.NodeOutput(fix_colors(image, photo, method))
