"""The targets by name."""

from pypelineetl.sql.translation.targets.duckdb import DUCKDB, DUCKDB_WITH_SQLITE
from pypelineetl.sql.translation.targets.postgresql import MYSQL, POSTGRESQL
from pypelineetl.sql.translation.targets.sqlite import SQLITE
from pypelineetl.sql.translation.targets.target import Target

SCANNED_SQLITE = "sqlite in duckdb"
"""The name of the target that is DuckDB with the tables of SQLite attached."""
TARGETS: dict[str, Target] = {
    "postgres": POSTGRESQL,
    "mysql": MYSQL,
    "duckdb": DUCKDB,
    "sqlite": SQLITE,
    SCANNED_SQLITE: DUCKDB_WITH_SQLITE,
}
"""The targets by the name of the dialect."""
