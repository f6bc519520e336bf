"""A reader that queries all the time, as a dashboard does.

Every query must return one complete generation.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from fault_injection.generations import SALES_A_GENERATION, THINGS

_POLL = """
    SELECT (SELECT MIN(generation) FROM thing_dim), (SELECT MAX(generation) FROM thing_dim),
           (SELECT COUNT(*) FROM thing_dim), (SELECT MIN(generation) FROM sale_fact),
           (SELECT MAX(generation) FROM sale_fact), (SELECT COUNT(*) FROM sale_fact)
"""


@dataclass
class Poller:
    """What a reader observed, its errors, and the longest time of a query in seconds."""

    url: str
    excuses_errors: bool
    queries: int = 0
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Query while the block runs.

        DuckDB is left out: a file that another process writes cannot be read.
        """
        if self.url.startswith("duckdb"):
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._poll, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _poll(self, stop: threading.Event) -> None:
        timeout = {"timeout": 60} if self.url.startswith("sqlite") else {}
        engine = sa.create_engine(self.url, poolclass=sa.NullPool, connect_args=timeout)
        while not stop.is_set():
            started = time.monotonic()
            try:
                with engine.connect() as connection:
                    row = connection.execute(sa.text(_POLL)).one()
            except sa.exc.SQLAlchemyError as error:
                if not self.excuses_errors:
                    self.wrong.append(f"a reader got an error: {str(error).splitlines()[0]}")
                time.sleep(0.05)
                continue
            self.longest = max(self.longest, time.monotonic() - started)
            self.queries += 1
            generation = row[0]
            if tuple(row) != (
                generation,
                generation,
                THINGS,
                generation,
                generation,
                SALES_A_GENERATION * generation,
            ):
                self.wrong.append(f"a reader saw {tuple(row)}")
