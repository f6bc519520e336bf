"""Loading dimensions in bulk."""
