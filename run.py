#!/usr/bin/env python
"""Run ETLs from the command line: `python run.py --help`. It only hands config.py to the library."""

import sys

import config
from pypelineetl.cli import main

if __name__ == "__main__":
    sys.exit(main(config))
