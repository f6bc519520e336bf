"""DuckDB as the compute engine of a load."""
