"""Measurements against pygrametl's own program, side by side in one run: it is the ratios that count."""
