"""Kinds of values that only SeeSR's nodes hand to one another."""

from comfy_api.latest import io

CATEGORY = "SeeSR"

Model = io.Custom("SEESR_MODEL")
"""A `models.Model`."""
Embedding = io.Custom("SEESR_EMBEDDING")
"""Representation embeddings, a tensor (B, n, d)."""
Settings = io.Custom("SEESR_SETTINGS")
"""Settings by name, a dict of those that were chosen."""
