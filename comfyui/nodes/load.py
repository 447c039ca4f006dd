"""Node: a model by name."""

from comfy_api.latest import io

from .. import choices, sockets


def model_inputs() -> list[io.Input]:
    """The widgets that say which model, with which enlarger, in which number format, and where it waits."""
    return [
        io.Combo.Input(
            "model",
            options=choices.models(),
            default="mini",
            tooltip="mini comes with SeeSR. sd2 and sd2-turbo are fetched at first use (13.8 GB). Model folders in "
            "models/seesr are listed too.",
        ),
        io.Combo.Input(
            "enlarger",
            options=choices.enlargers(),
            default=choices.MODELS_OWN,
            tooltip="What enlarges the photo first: the model's own network (bicubic for sd2), or a file of "
            "models/upscale_models.",
        ),
        io.Combo.Input(
            "dtype",
            options=list(choices.DTYPES),
            default=choices.DTYPES[0],
            tooltip="Number format of the networks; auto: the fastest that is good enough.",
        ),
        io.Combo.Input(
            "offload",
            options=list(choices.OFFLOADS),
            default=choices.OFFLOADS[0],
            tooltip="When the model leaves the graphics card: when other models need the room, each network as soon as "
            "it has done its part (least memory, slower), or never.",
        ),
    ]


class LoadModel(io.ComfyNode):
    """Finds a model; its weights are read when a node first needs them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrLoadModel",
            display_name="SeeSR: load model",
            category=sockets.CATEGORY,
            description="A model for SeeSR's other nodes.",
            inputs=model_inputs(),
            outputs=[sockets.Model.Output("seesr_model", display_name="model")],
        )

    @classmethod
    def execute(cls, model: str, enlarger: str, dtype: str, offload: str) -> io.NodeOutput:
        from ..models import open_model

        return io.NodeOutput(open_model(model, enlarger, dtype, offload))
