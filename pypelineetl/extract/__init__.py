"""Read sources: databases, files and Python functions."""
