"""One run, and the record of one ETL in a run: statuses, ways and ids, without any database."""

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from os import getpid
from uuid import uuid4

from pypelineetl.declare.etls import ETL
from pypelineetl.events import Counts

WAITING = "waiting"
"""The run has its tables, and has not begun the ETL."""
RUNNING = "running"
"""The ETL is being loaded."""
LOADED = "loaded"
"""The ETL's rows are loaded, and not published yet."""
PUBLISHING = "publishing"
"""The run is about to make its tables live."""
SUCCEEDED = "succeeded"
"""The ETL's rows are live."""
FAILED = "failed"
"""The ETL failed."""
NOT_RUN = "not run"
"""Another ETL of the run failed before this one was begun."""
NOT_PUBLISHED = "not published"
"""The ETL was loaded, and another ETL of the run failed."""
LOST = "lost"
"""The run's process died."""
LATE = "late"
"""The ETL was not loaded when it should have been. Such a record belongs to no run."""

UNFINISHED = (WAITING, RUNNING, LOADED, PUBLISHING)
"""The statuses of a run that has not ended."""
GIVEN_UP = (SUCCEEDED, FAILED, NOT_RUN, NOT_PUBLISHED)
"""The statuses of a run that a process has ended. A run that is LOST may be begun again."""

BUILT = "built"
"""The table was rebuilt."""
UPDATED = "updated"
"""The rows were loaded into the live table."""
DELETED = "deleted"
"""The table was dropped."""
ROLLED_BACK = "rolled back"
"""The previous table was made live again."""

# Names of tables must be short on PostgreSQL. The tables of only a few runs exist at the same time,
# so 32 bits are enough to distinguish them.
_GENERATION_LENGTH = 8


@dataclass(frozen=True)
class Run:
    """One run of some ETLs."""

    id: str
    """The run's id. On Celery it is the id of the task that began the run."""
    config_hash: str
    """A hash of the configuration that it runs with."""
    lease: timedelta = timedelta()
    """How long it keeps its tables while no connection holds its liveness lock."""

    @property
    def generation(self) -> str:
        """The generation of the tables that this run builds."""
        return generation_of(self.id)


@dataclass(frozen=True)
class RunRecord:
    """One row of `etl_run`: what is known of one ETL in one run. Times are UTC."""

    run_id: str
    """The run's id."""
    etl: str
    """The ETL, such as `fact sale`."""
    status: str
    """How far the ETL has come, such as SUCCEEDED."""
    way: str
    """What the run does to the table, such as BUILT; empty until the run publishes."""
    attempt: int
    """How many times the ETL was begun in this run."""
    started: datetime
    """When the last attempt began."""
    ended: datetime | None
    """When it ended, if it has."""
    counts: Counts | None
    """The number of rows, if the ETL was loaded."""
    error: str
    """What went wrong; empty if nothing did."""
    host: str
    """The machine and process of the last attempt."""


def new_run(config_hash: str) -> Run:
    """Return a run with a new id."""
    return Run(uuid4().hex, config_hash)


def generation_of(run_id: str) -> str:
    """Return the generation of a run: eight hexadecimal digits that go into names of its tables.

    >>> generation_of("nightly")
    '2a3b62b5'
    """
    return sha256(run_id.encode()).hexdigest()[:_GENERATION_LENGTH]


def present_holder() -> str:
    """Return the name of this machine and process, as `etl_run` and `etl_lock` record it."""
    # It is only shown to people. The liveness lock shows whether the process is alive.
    return f"{socket.gethostname()}, process {getpid()}"


def hash_of_ddl(etl: ETL) -> str:
    """Return a hash of an ETL's DDL that does not depend on line breaks and indentation."""
    # A formatter that rewraps creates.py must not cause a rebuild.
    return sha256(" ".join(etl.create.split()).encode()).hexdigest()
