"""The first days of the sample's marketplace, with the members and facts after each day."""

from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sample_sources import write_sample_with_few_courses

import sample
from pypelineetl import Request, events, read_project, refresh
from sample import schema

import config

ORDER, LINE, USER = 900_001, 1, 900_001


class Shop:
    """The sample's shop and its warehouse."""

    def __init__(self, folder: Path, warehouse_url: str) -> None:
        self.source_url = f"sqlite:///{folder}/shop.db"
        self._warehouse_url = warehouse_url
        self._folder = folder

    def at(self, day: int) -> None:
        """Write one more day into the shop."""
        if day == 1:
            write_sample_with_few_courses(self._folder / "shop.db")
        else:
            sample.write(self.source_url, day=day)

    def change(self, *statements: Any) -> None:
        """Apply the changes of the story's own user to the source."""
        with sa.create_engine(self.source_url, poolclass=sa.NullPool).begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, *names: str) -> dict[str, events.Counts]:
        """Load what a nightly run without a rebuild loads."""
        only = names or tuple(etl.name for etl in (*config.DIMENSIONS, *config.FACTS) if etl.active)
        request = Request(test_sources=False, run_dimensions=True, run_facts=True, only=only)
        happened = list(refresh(self.project(), request))
        assert isinstance(happened[-1], events.RunFinished)
        assert happened[-1].succeeded, [
            event.error for event in happened if isinstance(event, events.EtlFailed)
        ]
        return {
            event.etl.name: event.counts
            for event in happened
            if isinstance(event, events.EtlFinished)
        }

    def user(self) -> list[tuple[Any, ...]]:
        """Return the versions of the story's own user.

        The columns are school, e-mail, whether inferred, since and until.
        """
        return self.query(
            "SELECT school_name, email, is_inferred, valid_from, valid_to FROM user_dim"
            f" WHERE user_id = {USER} ORDER BY version"
        )

    def sales(self) -> list[tuple[Any, ...]]:
        """Return what that user bought.

        The columns are the order's line, and the school of the version to which the fact points.
        """
        return self.query(
            "SELECT f.order_id, u.school_name FROM product_sale_fact f JOIN user_dim u ON u.id ="
            f" f.buyer_fk WHERE u.user_id = {USER} ORDER BY f.order_id"
        )

    def products(self) -> dict[int, int]:
        """Return the number of products that are not deleted (0) and that are deleted (1)."""
        return dict(
            self.query(
                "SELECT is_deleted, COUNT(*) FROM product_dim WHERE is_inferred = 0 GROUP BY"
                " is_deleted"
            )
        )

    def totals(self) -> tuple[Any, ...]:
        """Return the number of order lines and their revenue."""
        [(lines, revenue)] = self.query("SELECT COUNT(*), SUM(net_amount) FROM product_sale_fact")
        return lines, round(float(revenue), 2)

    def source_totals(self) -> tuple[Any, ...]:
        """Return the number of order lines and their revenue in the source."""
        with sa.create_engine(self.source_url, poolclass=sa.NullPool).connect() as connection:
            query = "SELECT COUNT(*), SUM(quantity * unit_price - discount) FROM order_lines"
            [(lines, revenue)] = connection.exec_driver_sql(query).all()
        return lines, round(float(revenue), 2)

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the warehouse."""
        with self.project().open_warehouse() as warehouse:
            return [tuple(map(_plain, row)) for row in warehouse.query(query)]

    def project(self) -> Any:
        """Return the sample's own project, with this shop and this warehouse."""
        own: Any = SimpleNamespace(
            **{
                name: getattr(config, name)
                for name in ("DIMENSIONS", "FACTS", "SQL_DIALECT", "__file__")
            },
            SOURCE_URLS={"shop": self.source_url},
            WAREHOUSE_URL=self._warehouse_url,
            LOG_HOME=self._folder,
        )
        return read_project(own)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, date) else value


@pytest.fixture
def shop(tmp_path: Path, warehouse_url: str) -> Shop:
    """The shop on its first day."""
    shop = Shop(tmp_path, warehouse_url)
    shop.at(1)
    return shop


def an_order(number: int, at: datetime) -> list[Any]:
    """Return the statements with which the story's user orders product 1."""
    order = {
        "id": number,
        "buyer_id": USER,
        "payment_source_id": 1,
        "affiliate_id": None,
        "site_id": 1,
        "ordered_at": at,
        "paid_at": None,
        "delivered_at": None,
    }
    line = {
        "order_id": number,
        "line_number": LINE,
        "product_id": 1,
        "seller_id": 1,
        "quantity": 1,
        "unit_price": 10,
        "discount": 1,
    }
    tables = schema.metadata.tables
    return [
        sa.insert(tables["orders"]).values(order),
        sa.insert(tables["order_lines"]).values(line),
    ]


def moves(school_id: int, at: datetime) -> Any:
    """Return the statement with which the story's user moves to another school."""
    users = schema.metadata.tables["users"]
    return sa.update(users).where(users.c.id == USER).values(school_id=school_id, moved_at=at)


def test_five_days(shop: Shop) -> None:
    """The warehouse is right after each of five days, on every kind of warehouse.

    The days have an order before its user's row, a move, a back-dated move, a rename, a deletion,
    and a day that is loaded twice.
    """
    users = schema.metadata.tables["users"]
    # Day 1: an order of a user who has no row yet. The user is inferred.
    shop.change(*an_order(ORDER, datetime(2015, 6, 30, 10)))
    shop.load()
    assert shop.user() == [(None, None, 1, "1900-01-01", None)]
    assert shop.sales() == [(ORDER, None)]
    assert shop.products() == {0: 850}
    # Day 2: the user's row arrives. It fills the inferred member in place, so that the earlier sale
    # is this user's. A product is deleted.
    shop.at(2)
    shop.change(
        sa.insert(users).values(
            id=USER,
            username="zoe",
            email="zoe@old.example",
            school_id=993,
            registered_at=datetime(2015, 6, 30, 9),
            moved_at=datetime(2015, 6, 30, 9),
        )
    )
    shop.load()
    abilene, academy, adams = (
        "Abilene Christian University",
        "Academy of Art University",
        "Adams State College",
    )
    assert shop.user() == [(abilene, "zoe@old.example", 0, "1900-01-01", None)]
    assert shop.sales() == [(ORDER, abilene)]
    assert shop.products() == {0: 849, 1: 1}
    # Day 3: the user moves (type 2), has a new e-mail (type 1), and places another order.
    shop.at(3)
    shop.change(
        moves(995, datetime(2015, 7, 2, 8)),
        sa.update(users).where(users.c.id == USER).values(email="zoe@new.example"),
        *an_order(ORDER + 1, datetime(2015, 7, 2, 12)),
    )
    counts = shop.load()
    history = [
        (abilene, "zoe@new.example", 0, "1900-01-01", "2015-07-02"),
        (academy, "zoe@new.example", 0, "2015-07-02", None),
    ]
    assert shop.user() == history
    assert shop.sales() == [(ORDER, abilene), (ORDER + 1, academy)]
    assert counts["user"].versions == 3  # of this user, and of two more who move every day
    # Day 3 again: nothing changes.
    again = shop.load()
    assert (again["user"].inserted, again["user"].updated) == (0, 0)
    assert shop.user() == history
    # Day 4: a back-dated move of 1 July arrives. It is valid until the move of 2 July, and the
    # order of 30 June stays with the version before it.
    shop.at(4)
    shop.change(moves(996, datetime(2015, 7, 1, 8)), *an_order(ORDER + 2, datetime(2015, 7, 1, 20)))
    shop.load()
    assert shop.user() == [
        (abilene, "zoe@new.example", 0, "1900-01-01", "2015-07-01"),
        (adams, "zoe@new.example", 0, "2015-07-01", "2015-07-02"),
        (academy, "zoe@new.example", 0, "2015-07-02", None),
    ]
    assert shop.sales() == [(ORDER, abilene), (ORDER + 1, academy), (ORDER + 2, adams)]
    # Day 5: the user's account is deleted. A dimension that does not declare deletions keeps the
    # user, and the facts keep their keys.
    shop.at(5)
    shop.change(sa.delete(users).where(users.c.id == USER))
    shop.load()
    assert len(shop.user()) == 3
    assert len(shop.sales()) == 3
    assert shop.products() == {0: 846, 1: 4}
    assert shop.totals() == shop.source_totals()


def test_no_fact_points_to_a_wrong_member_after_a_rebuild_of_every_dimension(shop: Shop) -> None:
    """After a rebuild of every dimension alone, each fact still points to the same member.

    The facts are not loaded. Each of their keys has the same natural key as before and, for users,
    the same school.
    """
    for day in (2, 3):
        shop.load()
        shop.at(day)
    shop.load()
    pointed = """
        SELECT f.order_id, f.line_number, p.product_id, c.course_id, s.user_id, s.school_name,
          b.user_id, b.school_name
        FROM product_sale_fact f
        LEFT JOIN product_dim p ON p.id = f.product_fk
        LEFT JOIN course_dim c ON c.id = f.course_fk
        LEFT JOIN user_dim s ON s.id = f.seller_fk
        LEFT JOIN user_dim b ON b.id = f.buyer_fk
        ORDER BY 1, 2
    """
    before = shop.query(pointed)
    assert len(before) > 2600
    request = Request(test_sources=False, run_dimensions=True, delete_existing_tables=True)
    for _ in range(2):
        assert all(
            not isinstance(event, events.EtlFailed) for event in refresh(shop.project(), request)
        )
        assert shop.query(pointed) == before
