"""Models for other programs: as ONNX graphs, and as a folder for the hub."""
