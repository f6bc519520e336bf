"""Reading sources: databases, files and Python."""
