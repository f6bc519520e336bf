"""What the flat modules are written in: plain data, without a connection."""
