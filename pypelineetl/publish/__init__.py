"""Staged tables, and how they replace the live ones."""
