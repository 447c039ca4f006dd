"""Folder jobs on many machines, by Ray Data: `seesr cluster` (docs/cluster.md)."""
