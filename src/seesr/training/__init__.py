"""The training loop with its checkpoints, losses and discriminators; one file a stage in `stages`."""
