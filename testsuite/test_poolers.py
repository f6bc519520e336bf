"""PostgreSQL behind a real PgBouncer.

Session pooling works like a direct connection; transaction pooling is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
import sqlalchemy as sa
from servers import Server
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star

from pypelineetl.databases import open_database, parse_url
from pypelineetl.errors import DatabaseError


@contextmanager
def pooled(url: str, postgresql: Server, folder: Path, mode: str) -> Iterator[str]:
    """Yield the URL of a database through a pooler in this mode."""
    pooler = servers.start_pgbouncer(folder, postgresql, mode)
    try:
        yield sa.make_url(url).set(port=pooler.port).render_as_string(hide_password=False)
    finally:
        pooler.kill()


@pytest.mark.parametrize("read_only", [True, False], ids=["source", "warehouse"])
def test_a_pool_of_transactions_is_refused(
    postgresql: Server, postgresql_url: str, server_folder: Path, *, read_only: bool
) -> None:
    """A pooler with transaction pooling is refused, for a source and for a warehouse.

    A run would wait for its own lock for ever, and its session settings would apply to other
    clients.
    """
    with pooled(postgresql_url, postgresql, server_folder, "transaction") as url:
        with pytest.raises(
            DatabaseError, match="a pooler gives each transaction another connection"
        ) as caught:
            open_database(parse_url(url), read_only=read_only)
        assert "pool_mode = session" in str(caught.value)
        assert servers.PASSWORD not in str(caught.value)


def test_a_pool_of_sessions_is_a_server_like_any_other(
    postgresql: Server, postgresql_url: str, server_folder: Path, tmp_path: Path
) -> None:
    """Behind session pooling, a load into existing tables and a rebuild work.

    Source and warehouse are the same database.
    """
    with pooled(postgresql_url, postgresql, server_folder, "session") as url:
        star = Star(url, url, tmp_path)
        star.write(PEOPLE, [{"person_id": 1, "name": "x", "city": None}])
        star.write(THINGS, [{"code": "A", "title": "Algebra"}])
        sale = {
            "sale_id": 1,
            "seller_id": 1,
            "thing_code": "A",
            "sold_at": "2014-01-02 00:00:00",
            "price": "1.50",
        }
        star.write(SALES, [sale])
        for expected in (1, 0):
            assert star.load(PERSON, THING, DAY, rebuild=False)[0].inserted == expected
        assert [counts.read for counts in star.load(SALE, rebuild=True)] == [1]
        assert star.table("sale_fact", "sale_id", "seller_fk") == [(1, 1)]
