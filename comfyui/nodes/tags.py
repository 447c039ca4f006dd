"""Node: what DAPE sees in each picture and where, as text, as the representation embedding and as a picture."""

from typing import Any

from comfy_api.latest import io

from .. import sockets


class SeeTags(io.ComfyNode):
    """Tags of each picture, a line each, which may be edited before they go into the restore node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrSeeTags",
            display_name="SeeSR: see tags",
            category=sockets.CATEGORY,
            description="Tells what is in a degraded photo, for the restore node's tags and embedding.",
            inputs=[
                sockets.Model.Input("model"),
                io.Image.Input("image"),
                io.String.Input("leave_out", default="", tooltip="Tags that are not to be handed on: a, b, c."),
                io.String.Input("add", default="", tooltip="Words put after the tags of every picture: a, b, c."),
            ],
            outputs=[
                io.String.Output("tags", display_name="tags", tooltip="A line for each picture: a, b, c."),
                sockets.Embedding.Output(
                    "embedding", display_name="embedding", tooltip="What the image attention (RCA) reads."
                ),
                io.Image.Output(
                    "tag_map", display_name="map", tooltip="Where in each picture each tag is seen, drawn."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, image: Any, leave_out: str, add: str) -> io.NodeOutput:
        from ..run import see_tags

        return io.NodeOutput(*see_tags(model, image, leave_out, add))
