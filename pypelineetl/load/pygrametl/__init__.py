"""pygrametl objects for one load, and the connection through which they write."""
