"""The benchmarks of `make bench`.

They compare the engine with other programs for the same work, on one machine in one run.
"""

import sys
from pathlib import Path

# `servers` of the test suite starts the database servers.
sys.path.append(str(Path(__file__).parent.parent / "testsuite"))
