"""The Celery tasks.

`celery -A tasks worker` runs them, any Python shell calls them. The library does the work.
"""

from pypelineetl import PypeLineError
from pypelineetl.celery import Refreshes

import config

refreshes = Refreshes(config)
celery = refreshes.app


@celery.task(throws=(PypeLineError,))
def process_etl(conf_name, conf_type):
    """Run one ETL.

    `process_etl.apply_async(args=["school", "dimension"])` ends with ('dimension', 'school', 1687).
    """
    return refreshes.process(conf_name, conf_type)


@celery.task(bind=True, throws=(PypeLineError,))
def refresh_data_warehouse(self, run_dimensions=True, run_facts=True, delete_existing_tables=True):
    """Run all switched-on ETLs, dimensions in parallel and then facts.

    The result is [[dimensions], [facts]].
    """
    return refreshes.refresh(
        self,
        run_dimensions=run_dimensions,
        run_facts=run_facts,
        delete_existing_tables=delete_existing_tables,
    )
