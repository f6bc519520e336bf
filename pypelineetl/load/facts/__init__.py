"""Loading facts in bulk."""
