"""A unittest.TestCase of the source tests, for tests.py: one test for each switched-on ETL.

Like `run.py`, it reads only the first row of each source, and writes nothing.
"""

import unittest
from collections.abc import Callable
from types import ModuleType

from pypelineetl.declare.etls import ETL
from pypelineetl.errors import ConfigError
from pypelineetl.extract.source_check import SourceTester
from pypelineetl.project.config_module import read_project
from pypelineetl.project.project import Project
from pypelineetl.report.run_log import RunLog
from pypelineetl.report.terminal import shown

Test = Callable[[unittest.TestCase], None]
__unittest = True
"""With this name in a module, unittest leaves its frames out of the traceback of a failure."""


def source_tests(config: ModuleType) -> type[unittest.TestCase]:
    """Return a TestCase with one test for the source of each switched-on ETL.

    Results also go to tests.log. If the configuration has problems, the TestCase has a single test,
    which fails with the problems.
    """
    try:
        project = read_project(config)
    except ConfigError as error:
        return _test_case({"test_configuration": _failing(str(error))})
    # One tester for all tests, which tries an unreachable database only once.
    tester = SourceTester(project)
    return _test_case(
        {
            f"test_{etl.kind}_{etl.name}": _testing(tester, project, etl)
            for etl in project.etls
            if etl.active
        }
    )


def _test_case(tests: dict[str, Test]) -> type[unittest.TestCase]:
    return type("SourceTests", (unittest.TestCase,), dict(tests))


def _testing(tester: SourceTester, project: Project, etl: ETL) -> Test:
    def test(case: unittest.TestCase) -> None:
        tested = tester.test(etl)
        with RunLog(project.log_home / "tests.log") as log:
            log(tested)
        if tested.faults:
            case.fail("\n".join(map(shown, tested.faults)))

    return test


def _failing(message: str) -> Test:
    return lambda case: case.fail(message)
