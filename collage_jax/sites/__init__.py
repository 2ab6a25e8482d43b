"""Programs as JAX's transformations meet them: one operation, which they differentiate, batch, shard and lower."""
