"""Weights: published checkpoints, models by name, downloads, conversion both ways."""
