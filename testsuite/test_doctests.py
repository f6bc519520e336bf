"""The examples in the docstrings of the engine give the results that they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import pypelineetl

ENGINE = Path(pypelineetl.__file__).parent


def modules_with_examples() -> list[str]:
    """Return the names of the engine's modules whose text has an example."""
    names = []
    for path in sorted(ENGINE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ENGINE.parent).with_suffix("").parts
            names.append(".".join(parts).removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_what_they_show(name: str) -> None:
    """Each example of a module gives the result that it shows."""
    # An example may wrap SQL and tables over several lines.
    flags = doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(import_module(name), optionflags=flags)
    assert results.attempted > 0
    assert results.failed == 0
