"""Folder jobs: what is found, what was done before, and the work itself, which can be broken off at any moment."""
