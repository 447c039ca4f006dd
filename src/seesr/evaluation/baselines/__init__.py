"""The methods a test set can be restored with, a file a kind; `seesr.evaluation.methods` finds one by its name."""
