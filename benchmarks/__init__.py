"""What `make bench` runs.

The engine beside other ways to do the same work, on the same machine in the same run.
"""

import sys
from pathlib import Path

# The servers are started as the tests start them.
sys.path.append(str(Path(__file__).parent.parent / "testsuite"))
