#!/usr/bin/env python
"""Run ETLs from the command line: `python run.py --help`. The library reads config.py and does the work."""

import sys

from pypelineetl.cli import main

if __name__ == "__main__":
    sys.exit(main("config"))
