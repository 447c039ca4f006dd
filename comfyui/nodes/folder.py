"""Node: the photos of a folder, of any sizes, which the nodes behind it then take one after another."""

from comfy_api.latest import io

from .. import choices, sockets


class LoadFolder(io.ComfyNode):
    """Reads the photos of a folder in ComfyUI's `input`, upright and in sRGB."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SeesrLoadFolder",
            display_name="SeeSR: load folder",
            category=sockets.CATEGORY,
            description="All photos of a folder as a list, and their names. Files that cannot be read are left out and "
            "named in the log.",
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=choices.input_folders(),
                    default=choices.INPUT_ITSELF,
                    tooltip="In ComfyUI's input folder.",
                ),
                io.Int.Input("first", default=0, min=0, max=10**6, tooltip="Photos left out from the start."),
                io.Int.Input("count", default=100, min=1, max=10**6, tooltip="Most photos; they wait in memory."),
            ],
            outputs=[
                io.Image.Output("photos", display_name="image", is_output_list=True),
                io.String.Output("names", display_name="names", is_output_list=True, tooltip="Without their suffixes."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str, first: int, count: int) -> str:
        """Changes with the folder's files."""
        found = [(path.name, path.stat().st_mtime_ns) for path in choices.photo_files(folder)]
        return str(found[first : first + count])

    @classmethod
    def execute(cls, folder: str, first: int, count: int) -> io.NodeOutput:
        from ..run import read_photos

        photos, names = read_photos(choices.photo_files(folder)[first : first + count])
        return io.NodeOutput(photos, names)
