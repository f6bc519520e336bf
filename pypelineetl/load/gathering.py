"""A dimension's source rows at the bench, before anything becomes of them: gathered, judged, and their keys noted."""

from collections.abc import Sequence

from pypelineetl.declare import DimensionETL
from pypelineetl.load.attributes import with_constants
from pypelineetl.load.deletions import SEEN
from pypelineetl.load.rejects import reject, reject_null
from pypelineetl.load.tablesets import ROWS, TableSets
from pypelineetl.typed import TypedQuery, Want


def gather(sets: TableSets, source: TypedQuery, wants: Sequence[Want]) -> int:
    """Keep a dimension's source rows at the bench, and return how many there are."""
    assert isinstance(sets.etl, DimensionETL)  # noqa: S101 - facts gather their own
    is_lenient = sets.etl.most_rejected > 0
    rows = source.select(wants, f"{ROWS}_given", lenient=is_lenient)
    rows = f"SELECT * RENAME (unfit AS reason) FROM ({rows})" if is_lenient else rows
    read = sets.number_rows(with_constants(sets, sets.etl, rows))
    source.let_go()
    return read


def reject_unfit(sets: TableSets, natural_key: Sequence[str]) -> int:
    """Reject rows with values that do not fit or no natural key, or fail; return how many they are."""
    rejected = reject(sets.bench, ROWS) if sets.etl.most_rejected else 0
    return rejected + reject_null(sets, natural_key, ROWS)


def see(sets: TableSets, natural_key: Sequence[str]) -> None:
    """Note the natural keys of the rows at the bench, for what becomes of members that have none of them."""
    if isinstance(sets.etl, DimensionETL) and sets.etl.deleted:
        sets.bench.keep(SEEN, f"SELECT DISTINCT {sets.names(natural_key)} FROM {ROWS}")
