"""Loads this folder in diffusers: DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

from seesr.pipeline import SeeSRPipeline

__all__ = ["SeeSRPipeline"]
