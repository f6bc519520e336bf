"""Which dimensions and facts the system knows, which of them are on, and where everything is.

Set the ETL_* variables in the environment or in a `.env` file beside this one. Nothing here
connects.
"""

from pathlib import Path

from pypelineetl import DimensionETL, FactETL, environment, flag_deleted

import creates
import dimensions
import facts
import sources

HOME = Path(__file__).parent
_env = environment(HOME / ".env")

# An ETL asks the first, or the one its `database` names.
SOURCE_URLS = {"shop": _env.get("ETL_SOURCE_URL", f"sqlite:///{HOME}/local/source.db")}
# The time zone of sources that have local times, such as {"shop": "Europe/Berlin"}; others are in
# UTC.
SOURCE_TIME_ZONES: dict[str, str] = {}
WAREHOUSE_URL = _env.get("ETL_WAREHOUSE_URL", f"duckdb:///{HOME}/local/warehouse.duckdb")
BROKER_URL = _env.get("ETL_BROKER_URL", "redis://localhost:6379/0")
RESULT_URL = _env.get("ETL_RESULT_URL", "redis://localhost:6379/1")
LOG_HOME = Path(_env.get("ETL_LOG_HOME", HOME / "etl-logs"))

SQL_DIALECT = "mysql"  # of sources.py and creates.py; the databases may be others

# When `celery -A tasks beat` refreshes the whole warehouse, in UTC: {"hour": 3, "minute": 30} is
# every night.
NIGHTLY_REFRESH = None

# URLs of Apprise that get an alert when a run fails, succeeds again, or is overdue, which is when
# no run succeeded for LATE_AFTER_HOURS.
ALERTS = _env.get("ETL_ALERTS", "").split()
LATE_AFTER_HOURS = None

# Whether to keep the tables that a rebuild replaces. `run.py --rollback` restores them.
KEEP_PREVIOUS = False

# How many days the table etl_run, which `run.py --history` shows, keeps a run. None: for ever.
KEEP_RUNS_DAYS = None

# The ETLs run, and appear in results, in this order. `active=False` switches an ETL off;
# `queue="name"` gives it a separate Celery queue.
DIMENSIONS = [
    # A sale may refer to a deleted product, or to a user who is not loaded yet. The load then adds
    # an inferred member, and completes it when its row comes.
    DimensionETL(
        "product",
        source=sources.PRODUCT,
        create=creates.PRODUCT_DIM,
        factory=dimensions.product,
        inferred="is_inferred",
        deleted=flag_deleted("is_deleted"),
    ),
    DimensionETL(
        "user",
        source=sources.USER,
        create=creates.USER_DIM,
        factory=dimensions.user,
        inferred="is_inferred",
    ),
    DimensionETL(
        "course", source=sources.COURSE, create=creates.COURSE_DIM, factory=dimensions.course
    ),
    DimensionETL("date", source=sources.DATE, create=creates.DATE_DIM, factory=dimensions.date),
    DimensionETL(
        "school", source=sources.SCHOOL, create=creates.SCHOOL_DIM, factory=dimensions.school
    ),
    DimensionETL(
        "payment_source",
        source=sources.PAYMENT_SOURCE,
        create=creates.PAYMENT_SOURCE_DIM,
        factory=dimensions.payment_source,
    ),
    DimensionETL(
        "disability_program",
        source=sources.DISABILITY_PROGRAM,
        create=creates.DISABILITY_PROGRAM_DIM,
        factory=dimensions.disability_program,
    ),
    DimensionETL(
        "affiliate",
        source=sources.AFFILIATE,
        create=creates.AFFILIATE_DIM,
        factory=dimensions.affiliate,
    ),
    DimensionETL("site", source=sources.SITE, create=creates.SITE_DIM, factory=dimensions.site),
]

FACTS = [
    FactETL(
        "product_sale",
        source=sources.PRODUCT_SALE,
        create=creates.PRODUCT_SALE_FACT,
        factory=facts.product_sale,
        keys=facts.product_sale_keys,
    ),
    FactETL(
        "product_upload",
        source=sources.PRODUCT_UPLOAD,
        create=creates.PRODUCT_UPLOAD_FACT,
        factory=facts.product_upload,
        keys=facts.product_upload_keys,
    ),
    FactETL(
        "order_fulfillment",
        source=sources.ORDER_FULFILLMENT,
        create=creates.ORDER_FULFILLMENT_FACT,
        factory=facts.order_fulfillment,
        keys=facts.order_fulfillment_keys,
        active=False,
    ),
    FactETL(
        "program_membership",
        source=sources.PROGRAM_MEMBERSHIP,
        create=creates.PROGRAM_MEMBERSHIP_FACT,
        factory=facts.program_membership,
        keys=facts.program_membership_keys,
        active=False,
    ),
    FactETL(
        "product_review",
        source=sources.PRODUCT_REVIEW,
        create=creates.PRODUCT_REVIEW_FACT,
        factory=facts.product_review,
        keys=facts.product_review_keys,
        active=False,
    ),
]
