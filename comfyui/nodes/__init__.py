"""The nodes, one file each; what they do when they run is imported then."""
