"""Methods run on test sets and compared: runs, reports, baselines, semantic tests."""
