"""SeeSR: semantics-aware real-world image super-resolution (Wu et al., CVPR 2024, arXiv 2311.16518)."""

from importlib import import_module
from typing import Any

from seesr.threads import wait_asleep

__version__ = "0.1.0"

_EXPORTS = {
    "Autoencoder": "seesr.models.autoencoder",
    "ConvTagger": "seesr.models.conv_tagger",
    "Enlarger": "seesr.models.enlarger",
    "SeeSROutput": "seesr.restoration.outputs",
    "SeeSRPipeline": "seesr.pipeline",
    "SeesrError": "seesr.errors",
    "SemanticControlNet": "seesr.models.semantic_attention",
    "SemanticUNet": "seesr.models.semantic_attention",
    "Tagger": "seesr.models.tagger",
    "TextTower": "seesr.models.text",
}
__all__ = [*_EXPORTS, "__version__"]

wait_asleep()  # before PyTorch is loaded


def __getattr__(name: str) -> Any:
    """Import the public classes on first use: `seesr --help` need not wait for PyTorch."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'seesr' has no attribute {name!r}")
