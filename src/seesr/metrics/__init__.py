"""The metrics of the field's tables, in the variants that published tables use, with their intervals."""
