"""The restoration of a photo: settings, prompts, enlarging, sampling, diffusion, colour fix, memory."""
