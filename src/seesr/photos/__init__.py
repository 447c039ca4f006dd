"""Photo files in and out: pixels, colour profiles, depth, metadata, limits."""
