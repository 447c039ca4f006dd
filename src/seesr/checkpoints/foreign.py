"""Networks of other projects from their weights' files, by spandrel: BSRGAN, Real-ESRGAN, SwinIR, DAT, HAT and more.

The file is read here, without running what a pickle may hold; spandrel is given tensors and finds the architecture.
FeMaSR and others whose licences ask for it lie in the package `spandrel_extra_arches`, used where it is installed.
spandrel needs torchvision, so it is imported only when such a network is asked for.
"""

from pathlib import Path
from typing import Any

import torch

from seesr.checkpoints.files import read_state_dict
from seesr.errors import SeesrError
from seesr.models.foreign_enlarger import ForeignEnlarger

MOST = 8
"""Times larger that an enlarger may make a photo; what is more than asked for is taken off again."""


def import_spandrel(wanted_by: str) -> Any:
    """The package, for what a message calls `wanted_by`.

    Raises:
        SeesrError: it, or torchvision, is not installed or does not fit the installed PyTorch.
    """
    try:
        import spandrel
    except (ImportError, RuntimeError) as error:  # the second: torchvision made for another PyTorch
        reason = str(error).strip().partition("\n")[0]
        raise SeesrError(
            f"{wanted_by} needs spandrel and torchvision ({reason}); pip install 'seesr[spandrel]'"
        ) from None
    return spandrel


def read_network(file: Path, wanted_by: str) -> Any:
    """The network in `file`, .safetensors, .pth, .pt, .ckpt or .bin, as spandrel's `ImageModelDescriptor`, on the CPU.

    Raises:
        SeesrError: no file, one that is damaged or holds a program, an architecture that spandrel does not know, or a
            network that does not take colour pictures to colour pictures.
    """
    tensors = read_state_dict(file)
    spandrel = import_spandrel(wanted_by)
    try:
        import spandrel_extra_arches
    except ImportError:
        pass
    else:
        spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        found = spandrel.ModelLoader().load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError:
        raise SeesrError(f"{file}: holds no architecture that spandrel {spandrel.__version__} knows") from None
    except Exception as error:  # whatever an architecture stumbles over in tensors that are not quite its own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SeesrError(f"{file}: spandrel cannot build its network ({reason})") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise SeesrError(f"{file}: is no network from colour picture to colour picture")
    return found


def load_foreign_enlarger(file: Path, dtype: torch.dtype = torch.float32) -> ForeignEnlarger:
    """The network in `file` as an enlarger, in evaluation mode.

    Args:
        dtype: float32 is taken instead where the network cannot work in it.

    Raises:
        SeesrError: as `read_network`; or it is for faces alone, or enlarges more than `MOST` times.
    """
    file = file.expanduser()
    found = read_network(file, "`enlarger`")
    if found.purpose == "FaceSR":
        raise SeesrError(f"{file}: is for faces alone; give a network for whole pictures")
    if found.scale not in range(1, MOST + 1):
        raise SeesrError(f"{file}: enlarges {found.scale} times; give a network of 1 to {MOST} times")
    fits = {torch.float16: found.supports_half, torch.bfloat16: found.supports_bfloat16}
    return ForeignEnlarger(found, file.name).to(dtype if fits.get(dtype, True) else torch.float32).eval()
