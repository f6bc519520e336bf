"""One refresh in which a fault is injected at a named point.

`python -m fault_injection.inject CASE` runs it in a separate process. It wraps the engine's own
functions at that point. The fault is real: an exception, or a killed process, connection or server.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from sqlalchemy import make_url

from fault_injection import generations
from fault_injection.generations import Star
from pypelineetl import Request, events, refresh
from pypelineetl.databases import duckdb, duckdb_catalog, mysql, postgresql, sqlite
from pypelineetl.databases.base import Database
from pypelineetl.databases.bulk import BulkWriter
from pypelineetl.databases.catalog import Catalog
from pypelineetl.databases.table_swap import TableSwap
from pypelineetl.extract import sources
from pypelineetl.load import dispatch
from pypelineetl.run import publication, retry
from pypelineetl.state import run_start, run_status

_OF_DATABASES = {
    ("bulk_class", "insert"): "mid-load",
    ("swap_class", "rename_all"): "committed, not recorded",
    ("catalog_class", "create"): "staging made",
}


class InjectedError(RuntimeError):
    """The fault that is an exception."""


def main(case: dict[str, Any]) -> None:
    """Refresh the star with the fault of the case, and print the result as JSON."""
    os.environ["TORTURE_GENERATION"] = str(case["generation"])
    print(json.dumps(refreshed(case)))  # noqa: T201 - the caller reads it


def refreshed(case: dict[str, Any]) -> dict[str, Any]:
    """Refresh the star in this process with the fault of the case, and return the result."""
    star = Star(case["source"], case["warehouse"], Path(case["folder"]))
    request = Request(
        test_sources=False,
        run_dimensions=True,
        run_facts=True,
        delete_existing_tables=case["mode"] == "build",
    )
    said, last = [], None
    with ExitStack() as patches:
        # With the pauses between real retries, all cases would take too long.
        _put(patches, retry, "_FIRST_PAUSE_SECONDS", 0.2)
        struck = _armed(case, patches)
        with suppress(InjectedError):
            for event in refresh(star.project(case["generation"]), request):
                said.append(str(getattr(event, "error", "") or getattr(event, "what", "")))
                last = event
    succeeded = isinstance(last, events.RunFinished) and last.succeeded
    return {"succeeded": succeeded, "struck": bool(struck), "said": [text for text in said if text]}


def _armed(case: dict[str, Any], patches: ExitStack) -> list[str]:
    if case["fault"].startswith("call"):
        return _fail_nth_call(int(case["fault"].removeprefix("call ")), patches)
    return arm(case["point"], _faults(case)[case["fault"]], patches)


def _put(patches: ExitStack, owner: Any, name: str, value: Any) -> Any:
    """Replace an attribute until the patches end, and return its original value."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    patches.callback(setattr, owner, name, original)
    return original


def _faults(case: dict[str, Any]) -> dict[str, Callable[[], None]]:
    def raised() -> None:
        message = "a fault was injected"
        raise InjectedError(message)

    return {
        "exception": raised,
        "kill process": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "kill connections": lambda: _kill_connections(case["warehouse"]),
        "kill server": lambda: os.kill(case["server"], signal.SIGKILL),
    }


def _kill_connections(text: str) -> None:
    url = make_url(text)
    options: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
    }
    if url.drivername.startswith("mysql"):
        connection = pymysql.connect(**options)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s", (url.database,)
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
        connection.close()
        return
    with psycopg.connect(**options, dbname=url.database, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <>"
            " pg_backend_pid()",
            (url.database,),
        )


def arm(point: str, fault: Callable[[], None], patches: ExitStack) -> list[str]:
    """Inject a fault when a point is reached for the first time.

    Returns a list that is not empty once the fault was injected.
    """
    struck: list[str] = []

    def strike(reached: str) -> None:
        if reached == point and not struck:
            struck.append(reached)
            fault()

    _put(patches, generations, "strike", strike)
    after, before = partial(_wrap, patches, strike, False), partial(_wrap, patches, strike, True)
    after(run_start, "acquire", "lock taken")
    after(run_status.RunStatus, "loaded", "history written")
    after(run_status.RunStatus, "publishing", "inside publish")
    after(Catalog, "empty", "inside publish")
    # DuckDB empties no table in a swap: the staged table takes the name of the live one.
    after(duckdb_catalog.DuckDBSwap, "swap_in", "inside publish")
    before(publication, "_publish", "before publish")
    before(publication, "drop_orphans_alone", "committed, not recorded")
    kinds = (duckdb.DuckDB, mysql.MySQL, postgresql.PostgreSQL, sqlite.SQLite)
    for (part, name), reached in _OF_DATABASES.items():
        for owner in {BulkWriter, TableSwap, Catalog, *(getattr(kind, part) for kind in kinds)}:
            if name in vars(owner):
                after(owner, name, reached)
    opened = sources.typed_source

    @contextmanager
    def typed_source(*arguments: Any) -> Any:
        with opened(*arguments) as source:
            strike("source connected")
            yield source

    _put(patches, dispatch, "typed_source", typed_source)
    return struck


def _wrap(  # noqa: PLR0913, PLR0917 - the first three are the same for all
    patches: ExitStack,
    strike: Callable[[str], None],
    is_before: bool,
    owner: Any,
    name: str,
    point: str,
) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if is_before:
            strike(point)
        result = original(*arguments, **named)
        if not is_before:
            strike(point)
        return result

    _put(patches, owner, name, wrapped)


def _fail_nth_call(number: int, patches: ExitStack) -> list[str]:
    """Let the Nth database call fail with an error of its driver.

    Returns a list that is not empty once the call has failed.
    """
    struck: list[str] = []
    calls = count(1)

    @contextmanager
    def translated_errors(self: Database) -> Any:
        with original(self):
            if next(calls) == number:
                struck.append("call")
                message = f"call {number} fails"
                raise self.driver_error(message)
            yield

    original = _put(patches, Database, "translated_errors", translated_errors)
    return struck


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
