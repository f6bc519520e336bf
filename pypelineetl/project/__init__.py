"""Validate the config module, and read it into a Project."""
