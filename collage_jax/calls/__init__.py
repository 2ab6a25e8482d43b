"""What happens when a decorated function is called: which program its arguments want, and where that comes from."""
