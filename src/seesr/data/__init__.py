"""Training and test data: shards, photos, samples, tags, pairs."""
