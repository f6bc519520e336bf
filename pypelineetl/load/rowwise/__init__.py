"""Loading row by row, through pygrametl."""
