"""From a plan to a callable."""
