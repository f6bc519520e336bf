"""The version of the library, which `etl_run` records with each run."""

__version__ = "0.1.0"
