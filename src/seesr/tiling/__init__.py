"""Tiles over pictures and latents, and autoencoders that work in them without seams."""
