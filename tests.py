"""Validate the source connection and query of every switched-on ETL, writing nothing.

`python tests.py`, `python -m unittest tests` and `pytest tests.py` all work; so does `python
run.py`.
"""

import unittest

from pypelineetl import source_tests

import config

SourceTests = source_tests(config)

if __name__ == "__main__":
    unittest.main()
