#!/usr/bin/env python
"""Run ETLs from the command line: `python run.py --help`. It only hands config.py to the library."""

import sys

from pypelineetl.cli import main

import config

if __name__ == "__main__":
    sys.exit(main(config))
