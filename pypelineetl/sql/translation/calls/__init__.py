"""Translate calls of functions whose SQL no template of `functions.py` can give."""
