"""One case on new, empty databases of servers that run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import servers
from servers import Server

from torture.case import Case
from torture.judge import Verdict, is_learnt, judged, learn
from torture.star import Star


def run(case: Case, folder: Path, running: dict[str, Server]) -> Verdict:
    """Run one case on new, empty databases."""
    if not is_learnt(case):
        with _star(case.warehouse, folder, running) as star:
            learn(case, star)
    with _star(case.warehouse, folder, running) as star:
        return judged(case, star, running)


@contextmanager
def _star(warehouse: str, folder: Path, running: dict[str, Server]) -> Iterator[Star]:
    own = folder / uuid4().hex
    own.mkdir()
    source = f"sqlite:///{own}/source.sqlite"
    if warehouse == "mysql":
        with servers.mariadb_database(running["mysql"]) as url:
            yield Star(source, url, own)
    elif warehouse == "postgresql":
        with servers.postgresql_database(running["postgresql"]) as url:
            yield Star(source, url, own)
    else:
        yield Star(source, f"{warehouse}:///{own}/warehouse.{warehouse}", own)
