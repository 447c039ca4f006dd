"""Nodes: a restoration with the settings that matter most, and all other settings for those who want them."""

from typing import Any

from comfy_api.latest import io

from seesr.restoration.settings import SPECS

from .. import choices, inputs, sockets

MAIN = (
    "scale",
    "prompt",
    "num_inference_steps",
    "guidance_scale",
    "fidelity",
    "seed",
    "scheduler",
    "start_point",
    "color_fix",
    "detail",
    "engine",
)
"""Settings that the restore node shows; `tags` has an input of its own there."""

MORE = tuple(name for name in SPECS if name not in (*MAIN, "tags"))
"""Settings of the node for more settings."""


class Restore(io.ComfyNode):
    """SeeSR's restoration of every picture of a batch, each as if it were alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrRestore",
            display_name="SeeSR: restore",
            category=sockets.CATEGORY,
            description="Restores and enlarges photos. What a widget leaves to the profile is best for the model.",
            inputs=[
                sockets.Model.Input("model"),
                io.Image.Input("image"),
                profile_input(),
                io.String.Input(
                    "tags",
                    default="",
                    multiline=True,
                    tooltip="What is in the photo, as a, b, c: instead of the tags that the model sees. One line for "
                    "all pictures, or a line for each. Empty: those it sees.",
                ),
                *inputs.setting_inputs(MAIN),
                mask_input(),
                sockets.Embedding.Input("embedding", optional=True, tooltip="Instead of the one that the model sees."),
                sockets.Settings.Input("more_settings", optional=True),
            ],
            outputs=[
                io.Image.Output("restored", display_name="image"),
                io.String.Output("seen", display_name="tags", tooltip="What the model saw: a line for each picture."),
                io.String.Output(
                    "prompts", display_name="prompts", tooltip="What the model was told: a line for each picture."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        image: Any,
        profile: str,
        tags: str,
        mask: Any = None,
        embedding: Any = None,
        more_settings: dict[str, Any] | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..run import restore

        given = {**(more_settings or {}), **inputs.read_settings(settings)}
        return io.NodeOutput(*restore(model, image, profile, given, tags, mask, embedding))


class MoreSettings(io.ComfyNode):
    """All settings that the restore node does not show."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrMoreSettings",
            display_name="SeeSR: more settings",
            category=sockets.CATEGORY,
            description="Tiles, memory and the finer points of sampling, for the restore node.",
            inputs=inputs.setting_inputs(MORE),
            outputs=[sockets.Settings.Output("settings", display_name="settings")],
        )

    @classmethod
    def execute(cls, **settings: Any) -> io.NodeOutput:
        return io.NodeOutput(inputs.read_settings(settings))


def profile_input() -> io.Input:
    """The widget that chooses a profile."""
    return io.Combo.Input(
        "profile",
        options=choices.profiles(),
        default=choices.MODELS_DEFAULT,
        tooltip="Named settings: fast, paper, or the model's own, such as diffusion of mini.",
    )


def mask_input() -> io.Input:
    """The input that says where a picture is to be restored."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Restore only here; elsewhere the photo is enlarged bicubically, blended between.",
    )
