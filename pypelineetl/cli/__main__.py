"""`python -m pypelineetl.cli` does what run.py does."""

import sys

from pypelineetl.cli.entry import main

sys.exit(main("config"))
