"""The web page and the HTTP API: one process, one model, one queue."""
