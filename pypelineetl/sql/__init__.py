"""SQL text and types, without a connection."""
