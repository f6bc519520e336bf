#!/usr/bin/env python
"""Run ETLs from the command line.

`python run.py --help`. The library reads config.py and does the work.
"""

import sys

try:
    from pypelineetl.cli import main
except KeyboardInterrupt:
    # Ctrl-C in the first half second.
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main("config"))
