"""The pygrametl objects of a load, and the connection they write through."""
