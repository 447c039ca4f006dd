"""SeeSR: semantics-aware real-world image super-resolution (Wu et al., CVPR 2024, arXiv 2311.16518)."""

__version__ = "0.1.0"
