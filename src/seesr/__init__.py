"""SeeSR: semantics-aware real-world image super-resolution (Wu et al., CVPR 2024, arXiv 2311.16518)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seesr.system.discovery import announce

if TYPE_CHECKING:
    from seesr.errors import SeesrError, SeesrWarning
    from seesr.models.autoencoder import Autoencoder
    from seesr.models.compact_enlarger import CompactEnlarger
    from seesr.models.conv_tagger import ConvTagger
    from seesr.models.enlarger import Enlarger
    from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
    from seesr.models.tagger import Tagger
    from seesr.models.text import TextTower
    from seesr.pipeline import SeeSRPipeline
    from seesr.restoration.outputs import SeeSROutput
    from seesr.restoration.settings import Settings

from seesr.system.threads import wait_asleep

__version__ = "0.1.0"

__all__ = [
    "Autoencoder",
    "CompactEnlarger",
    "ConvTagger",
    "Enlarger",
    "SeeSROutput",
    "SeeSRPipeline",
    "SeesrError",
    "SeesrWarning",
    "SemanticControlNet",
    "SemanticUNet",
    "Settings",
    "Tagger",
    "TextTower",
    "__version__",
]

_HOMES = {
    "Autoencoder": "seesr.models.autoencoder",
    "CompactEnlarger": "seesr.models.compact_enlarger",
    "ConvTagger": "seesr.models.conv_tagger",
    "Enlarger": "seesr.models.enlarger",
    "SeeSROutput": "seesr.restoration.outputs",
    "SeeSRPipeline": "seesr.pipeline",
    "SeesrError": "seesr.errors",
    "SeesrWarning": "seesr.errors",
    "SemanticControlNet": "seesr.models.semantic_attention",
    "SemanticUNet": "seesr.models.semantic_attention",
    "Settings": "seesr.restoration.settings",
    "Tagger": "seesr.models.tagger",
    "TextTower": "seesr.models.text",
}

wait_asleep()  # before PyTorch is loaded


def __getattr__(name: str) -> Any:
    """Import the public classes on first use: `seesr --help` need not wait for PyTorch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'seesr' has no attribute {name!r}")


announce()
