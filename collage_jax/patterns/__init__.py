"""The pattern language and the composites recognised with it."""
