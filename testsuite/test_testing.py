"""The kit for users' own tests: it loads drawn tables, and draws a difference as a table."""

import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from pygrametl.tables import SlowlyChangingDimension, TypeOneSlowlyChangingDimension
from star_schema import DAY, PERSON, SALE, THING

from pypelineetl import DimensionETL, FactETL, UsageError, factory, file, rows
from pypelineetl.events import Counts
from pypelineetl.testing import Story
from pypelineetl.testing.drawn_tables import read_drawings

SAMPLE = DimensionETL(
    "sample",
    source="SELECT code, title, price, made_on, seen_at FROM samples ORDER BY code",
    create="""
        CREATE TABLE sample_dim (
          id INT NOT NULL PRIMARY KEY,
          code INT NOT NULL,
          title VARCHAR(60),
          price DECIMAL(10,2),
          made_on DATE,
          seen_at DATETIME
        )
    """,
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="sample_dim",
        key="id",
        attributes=["code", "title", "price", "made_on", "seen_at"],
        lookupatts=["code"],
    ),
)
COLUMNS = "| code:int | title:text | price:decimal | made_on:date | seen_at:datetime |"


def config(*etls: DimensionETL | FactETL, **constants: Any) -> Any:
    """Return a config module with these ETLs; no test may reach its databases."""
    defaults = {
        "SOURCE_URLS": {"shop": "mysql://theirs/shop"},
        "WAREHOUSE_URL": "postgresql://theirs/warehouse",
        "LOG_HOME": Path("/theirs"),
        "DIMENSIONS": [etl for etl in etls if etl.kind == "dimension"],
        "FACTS": [etl for etl in etls if etl.kind == "fact"],
    }
    return SimpleNamespace(**{**defaults, **constants})


def new_story(folder: Path) -> Story:
    """Return a story of the small star and of samples, in a folder that does not exist yet."""
    return Story(
        config(PERSON, THING, DAY, replace(SAMPLE, active=False), SALE),
        folder / "new folder, 100% 'mine' #1",
    )


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A new story of the small star and of samples."""
    return new_story(tmp_path)


def samples(story: Story, *cells: str) -> None:
    """Load samples whose titles are these drawn cells."""
    drawn = "\n".join(
        f"| {code} | {cell} | NULL | NULL | NULL |" for code, cell in enumerate(cells)
    )
    story.day(f"samples\n{COLUMNS}\n{drawn}")
    story.load("sample")


def test_three_days_of_versions_and_facts(story: Story) -> None:
    """Facts before and after a type-2 change find the versions that were valid at their moments.

    The expected tables contain variables in place of surrogate keys.
    """
    story.day(
        """
        people
        | person_id | name | city |
        | 1         | Ann  | Rome |
        | 2         | Bob  | Oslo |

        things
        | code | title   |
        | A    | Algebra |

        sales
        | sale_id | seller_id | buyer_id | thing_code | sold_at             | price:decimal |
        | 1       | 1         | 2        | A          | 2014-01-05 12:00:00 | 5             |
        """,
        at="2014-01-05",
    )
    story.load()
    story.expect("""
        person_dim
        | id   | name | city | valid_from | valid_to | version |
        | $ann | Ann  | Rome | 1900-01-01 | NULL     | 1       |
        | $bob | Bob  | Oslo | 1900-01-01 | NULL     | 1       |

        sale_fact
        | sale_id | seller_fk | buyer_fk | local_date_fk | price |
        | 1       | $ann      | $bob     | 20140105      | 5.00  |
        """)
    story.day(
        """
        people
        | person_id | name | city  |
        | 1         | Ann  | Turin |
        | 2         | Rob  | Oslo  |
        """,
        at="2014-02-01 08:00:00",
    )
    assert story.load("person") == {"person": Counts(2, inserted=1, updated=1, versions=1)}
    story.day(
        """
        sales
        | sale_id | seller_id | buyer_id | thing_code | sold_at             | price |
        | 1       | 1         | 2        | A          | 2014-01-05 12:00:00 | 5     |
        | 2       | 1         | 1        | A          | 2014-02-03 12:00:00 | 7.25  |
        | 3       | 2         | 9        | NULL       | 2014-02-03 12:00:00 | 0.10  |
        """,
        at="2014-02-03",
    )
    story.load("person", "sale")
    story.expect("""
        sale_fact
        | sale_id | seller_fk | buyer_fk  | thing_fk | price |
        | 3       | $bob      | $stranger | NULL     | 0.1   |
        | 2       | $turin    | $turin    | $algebra | 7.25  |
        | 1       | $ann      | $bob      | $algebra | 5     |

        person_dim
        | id        | person_id | name | city  | valid_from | valid_to   | version |
        | $ann      | 1         | Ann  | Rome  | 1900-01-01 | 2014-02-01 | 1       |
        | $turin    | 1         | Ann  | Turin | 2014-02-01 | NULL       | 2       |
        | $bob      | 2         | Rob  | Oslo  | 1900-01-01 | NULL       | 1       |
        | $stranger | 9         | NULL | NULL  | 1900-01-01 | NULL       | 1       |

        thing_dim
        | id       | code |
        | $algebra | A    |
        """)


def test_a_story_of_two_sources(tmp_path: Path) -> None:
    """Each name of SOURCE_URLS is a separate database, in which the story draws tables.

    Two sources may have tables of the same name.
    """
    titles = replace(
        THING, name="crm", database="crm", create=THING.create.replace("thing_dim", "crm_dim")
    )
    titles = replace(
        titles,
        factory=factory(
            THING.factory.table_class, **{**THING.factory.arguments, "name": "crm_dim"}
        ),
    )
    urls = {"shop": "mysql://theirs/shop", "crm": "mysql://theirs/crm"}
    story = Story(config(THING, titles, SOURCE_URLS=urls), tmp_path)
    story.day("things\n| code | title |\n| A | Algebra |")
    story.day("things\n| code | title |\n| 1 | Alfred  |", database="crm")
    story.load()
    story.expect("""
        thing_dim
        | code | title   |
        | A    | Algebra |

        crm_dim
        | code | title  |
        | 1    | Alfred |
        """)
    with pytest.raises(
        UsageError, match=re.escape('no "crn". Did you mean "crm"? It has "shop", "crm"')
    ):
        story.day("things\n| code | title |", database="crn")


CELLS = [
    ("NULL", None),
    ("'NULL'", "NULL"),
    ("''", ""),
    ("' two  blanks '", " two  blanks "),
    ("'a | b'", "a | b"),
    ("'it''s'", "it's"),
    ("''''", "'"),
    ("it's", "it's"),
    ('say "hi"', 'say "hi"'),
    (r"back\slash\ ", "back\\slash\\"),
    (r"\n", r"\n"),
    ("😀 é 漢字", "😀 é 漢字"),
    ("null", "null"),
    ("'$ann'", "$ann"),
    ("$5.00", "$5.00"),
    ("%s ? :x", "%s ? :x"),
    ("2014-01-05", "2014-01-05"),
]
"""Drawn cells, and the values that they draw."""


@pytest.fixture(scope="module")
def story_of_cells(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A story that has loaded each cell as the title of a sample; no test may change it."""
    story = new_story(tmp_path_factory.mktemp("cells"))
    samples(story, *(cell for cell, _ in CELLS))
    return story


@pytest.mark.parametrize(("cell", "title"), CELLS)
def test_a_cell_is_the_value_it_draws(story_of_cells: Story, cell: str, title: str | None) -> None:
    """A drawn cell is loaded, and expected, as exactly the value that it draws.

    The values have quotes, blanks, backslashes and characters of several scripts.
    """
    code = CELLS.index((cell, title))
    found = story_of_cells.rows(f"SELECT title FROM sample_dim WHERE code = {code}")
    assert found == [(title,)]
    drawn = "\n".join(f"| {number} | {each} |" for number, (each, _) in enumerate(CELLS))
    story_of_cells.expect(f"sample_dim\n| code | title |\n{drawn}")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")), min_size=1)
)
def test_any_text_can_be_drawn(texts: list[str]) -> None:
    """Any text of one line can be drawn in single quotes, with the quotes in it doubled."""
    row = " | ".join("'" + text.replace("'", "''") + "'" for text in texts)
    heading = " | ".join(f"c{number}" for number in range(len(texts)))
    [drawn] = read_drawings(f"things\n| {heading} |\n| {row} |\n")
    assert [cell.text for cell in drawn.rows[0]] == texts


def test_an_empty_table_is_its_heading(story: Story) -> None:
    """A table that is drawn as a heading only has no rows, as a source and as an expectation."""
    samples(story)
    story.expect("sample_dim\n| code | title |")
    samples(story, "one")
    with pytest.raises(AssertionError, match=r"\+ \| 0    \| one   \|"):
        story.expect("sample_dim\n| code | title |")


def test_columns_without_a_type_are_what_their_cells_look_like(story: Story) -> None:
    """A column without a type gets the type of its cells: INTEGER, DECIMAL, DATE or DATETIME.

    If one cell has none of these forms, or is in quotes, the column is TEXT.
    """
    story.day("""
        kinds
        | i  | d   | day        | moment              | mixed            | zero | quoted | word | none | given:text |
        | -1 | 1   | 2014-01-05 | 2014-01-05 10:00:00 | 2014-01-05       | 007  | '1'    | 1    | NULL | 1          |
        | 20 | 2.5 | NULL       | 2014-01-05T10:00    | 2014-01-05 10:00 | 1    | 2      | x    | NULL | 2          |
        """)
    with story.project.open_source(SAMPLE) as source:
        assert list(source.catalog.columns("kinds").values()) == [
            "INTEGER", "DECIMAL", "DATE", "DATETIME", "DATETIME", "TEXT", "TEXT", "TEXT", "TEXT",
              "TEXT",
        ]  # fmt: skip
        assert source.query("SELECT i, d, moment, mixed, zero, quoted, given FROM kinds") == [
            (-1, 1, "2014-01-05 10:00:00", "2014-01-05 00:00:00", "007", "1", "1"),
            (20, 2.5, "2014-01-05 10:00:00", "2014-01-05 10:00:00", "1", "2", "2"),
        ]


def test_a_column_keeps_its_type_from_day_to_day(story: Story) -> None:
    """A column keeps the type of an earlier day, even if its cells look like another type.

    A cell that does not fit this type is an error, until the heading gives another type.
    """
    story.day("things\n| code | seen | later |\n| A7 | 1.5 | NULL |")
    story.day("things\n| code | seen | later |\n| 7 | 1 | 2014-01-05 |")
    with story.project.open_source(SAMPLE) as source:
        assert source.catalog.columns("things") == {
            "code": "TEXT",
            "seen": "DECIMAL",
            "later": "DATE",
        }
        assert source.query("SELECT code, seen, later FROM things") == [("7", 1, "2014-01-05")]
    with pytest.raises(
        UsageError, match=re.escape('things: x is no decimal, and column "seen" is')
    ):
        story.day("things\n| code | seen |\n| 7 | x |")
    story.day("things\n| code | seen:text |\n| 7 | x |")


@pytest.fixture(scope="module")
def story_of_one(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A story with one sample in its source; no test may change it."""
    story = new_story(tmp_path_factory.mktemp("one"))
    samples(story, "kept")
    return story


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (
            "things",
            (
                "things: a table is drawn as its name, its columns and its rows, a line each, with"
                " no blank line"
            ),
        ),
        ("| code |\n| A |", "| code |: a table is drawn as its name, its columns and its rows"),
        (
            "things\n| code |\n\n| A |",
            "| A |: a table is drawn as its name, its columns and its rows",
        ),
        (
            "things\n| code | title |\n| A |",
            "things: the number of cells in | A | is 1, and in its heading 2",
        ),
        (
            "things\n| code |\n| a\\|b |",
            r"things: the number of cells in | a\|b | is 2, and in its heading 1",
        ),
        (
            "things\n| code |\n| A",
            "things: | A cannot be read from | A on. A row begins and ends with |",
        ),
        ("things\n| code |\nA |", "things: A | cannot be read from A | on."),
        ("things\n| code |\n|", "things: | cannot be read from | on."),
        ("things\n| code | title |\n| A |  |", "things: | A |  | cannot be read from |  | on."),
        ("things\n| code |\n| 'A |", "things: | 'A | cannot be read from | 'A | on."),
        ("things\n| code |\n| 'A' s |", "things: | 'A' s | cannot be read from | 'A' s | on."),
        ("things\n| code | code |", "things: | code | code | names a column twice"),
        ("things\n| code |\n\nthings\n| code |", "things is drawn twice"),
        (
            "things\n| code:itn |",
            (
                'column "code" has a type "itn"; there are "int", "decimal", "date", "datetime",'
                ' "text"'
            ),
        ),
        (
            "things\n| code:int |\n| A |",
            'things: A is no int, and column "code" is; its heading may say code:text',
        ),
        ("things\n| code:int |\n| 7.5 |", "its heading may say code:decimal"),
        (
            "things\n| code:date |\n| 2014-02-30 |",
            'things: 2014-02-30 is no date, and column "code" is; its heading may say code:text',
        ),
        (
            "things\n| price |\n| 0.12345678901234567890 |",
            'column "price" cannot take a value of type Decimal',
        ),
    ],
)
def test_a_wrong_drawing_is_reported_in_one_message(
    story_of_one: Story, drawing: str, message: str
) -> None:
    """A wrong drawing is refused with one line, and the source does not change.

    The message names the table, the line and the rule.
    """
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        story_of_one.day(f"samples\n{COLUMNS}\n\n{drawing}")
    assert "\n" not in str(caught.value)
    with story_of_one.project.open_source(SAMPLE) as source:
        assert source.query("SELECT title FROM samples") == [("kept",)]


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ("", "nothing is drawn"),
        ("sample_dm\n| code |", 'no ETL has a table "sample_dm". Did you mean "sample_dim"?'),
        ("sample_dim\n| cod |", 'sample_dim: there is no column "cod". Did you mean "code"?'),
        ("sample_dim\n| code |\n| x |", 'sample_dim: x is no value of column "code", which is INT'),
    ],
)
def test_an_expectation_that_cannot_be_met_is_a_wrong_drawing(
    story: Story, drawing: str, message: str
) -> None:
    """An expectation that no table could meet is a UsageError, and not a mismatch."""
    samples(story)
    with pytest.raises(UsageError) as caught:
        story.expect(drawing)
    assert str(caught.value) == message


def test_a_mismatch_is_drawn(story: Story) -> None:
    """A mismatch draws the expected rows above the found ones, and marks the rows that differ.

    Variables are shown with their values.
    """
    samples(story, "one", "' two'", "three", "NULL")
    story.expect(
        "sample_dim\n| id | code |\n| $one | 0 |\n| $two | 1 |\n| $three | 2 |\n| $four | 3 |"
    )
    with pytest.raises(AssertionError) as caught:
        story.expect("""
            sample_dim
            | id     | code | title | price |
            | $one   | 0    | one   | NULL  |
            | $three | 1    | two   | 5     |
            | $other | 2    | three | NULL  |
            | $five  | 4    | NULL  | NULL  |
            """)
    assert (
        str(caught.value) == "sample_dim is not as drawn\n"
        "expected:\n"
        "  | id       | code | title | price |\n"
        "  | $one=1   | 0    | one   | NULL  |\n"
        "- | $three=3 | 1    | two   | 5.00  |\n"
        "  | $other=3 | 2    | three | NULL  |\n"
        "- | $five    | 4    | NULL  | NULL  |\n"
        "found:\n"
        "  | id | code | title  | price |\n"
        "  | 1  | 0    | one    | NULL  |\n"
        "+ | 2  | 1    | ' two' | NULL  |\n"
        "  | 3  | 2    | three  | NULL  |\n"
        "+ | 4  | 3    | NULL   | NULL  |"
    )


def test_what_a_mismatch_draws_can_be_drawn(story: Story) -> None:
    """The rows that a mismatch shows as found can be copied into the expectation."""
    cells = ["''", "'NULL'", "NULL", "'a | b'", "'''x'", "it's", "' y'", "'$z'", "😀", r"\ "]
    samples(story, *(cell.strip() for cell in cells))
    with pytest.raises(AssertionError) as caught:
        story.expect("sample_dim\n| code | title |")
    found = str(caught.value).partition("found:\n")[2].replace("+ |", "  |")
    story.expect(f"sample_dim\n{found}")


def test_of_a_large_table_only_what_differs_is_drawn(story: Story) -> None:
    """For a table of 2,000 rows, a mismatch draws only the first rows that differ."""
    samples(story, *(["same"] * 2_000))
    with pytest.raises(AssertionError) as caught:
        story.expect("sample_dim\n| code | title |\n| 0 | same |\n| 1 | other |")
    lines = str(caught.value).splitlines()
    assert lines[4:9] == [
        "- | 1    | other |",
        "found:",
        "  | code | title |",
        "+ | 1    | same  |",
        "+ | 2    | same  |",
    ]
    assert (len(lines), lines[-1]) == (48, "  … of 2,000 rows")


def test_rows_are_compared_as_often_as_they_are_there(story: Story) -> None:
    """A row that is drawn once and found twice is a mismatch, and so is the reverse.

    The order of the rows is ignored.
    """
    samples(story, "b", "a", "a")
    story.expect("sample_dim\n| title |\n| a |\n| b |\n| a |")
    for titles in (["a", "b"], ["a", "b", "b"], ["a", "a", "a", "b"]):
        drawing = "\n".join(f"| {title} |" for title in titles)
        with pytest.raises(AssertionError, match="sample_dim is not as drawn"):
            story.expect(f"sample_dim\n| title |\n{drawing}")


def test_variables_find_the_one_way_in_which_all_rows_fit(story: Story) -> None:
    """If a variable fits several rows, the value with which all rows fit is found.

    Sometimes only a later row decides it, and the value stays for later expectations.
    """
    story.day(f"""
        samples
        {COLUMNS}
        | 1 | p | 1 | NULL | NULL |
        | 2 | p | 2 | NULL | NULL |
        | 3 | q | 3 | NULL | NULL |
        | 4 | q | 2 | NULL | NULL |
        """)
    story.load("sample")
    story.expect("sample_dim\n| title | price |\n| p | $x |\n| p | $y |\n| q | $z |\n| q | $x |")
    story.expect("sample_dim\n| code | price |\n| 1 | $y |\n| 2 | $x |\n| 3 | $z |\n| 4 | $x |")
    with pytest.raises(AssertionError, match=re.escape("- | 4    | $y=1.00 |")):
        story.expect("sample_dim\n| code | price |\n| 1 | $y |\n| 2 | $x |\n| 3 | $z |\n| 4 | $y |")


def test_a_variable_is_never_null(story: Story) -> None:
    """A variable does not match NULL; otherwise an unmatched key would pass for any member."""
    samples(story, "NULL")
    with pytest.raises(AssertionError, match=re.escape("- | $title |")):
        story.expect("sample_dim\n| title |\n| $title |")


def test_an_expectation_that_fails_teaches_no_variable(story: Story) -> None:
    """An expectation that fails assigns no variables."""
    samples(story, "a", "b")
    with pytest.raises(AssertionError):
        story.expect("sample_dim\n| id | title |\n| $x | a |\n| $y | c |")
    story.expect("sample_dim\n| id | title |\n| $x | b |\n| $y | a |")


def test_a_failure_of_an_etl_fails_the_test(story: Story) -> None:
    """A load that fails unexpectedly fails the test with the ETL's own error.

    An expected failure that does not happen also fails the test.
    """
    with pytest.raises(
        AssertionError, match=r'dimension "sample" failed: .*no such table: samples'
    ):
        story.load("sample")
    samples(story)
    story.day(f"samples\n{COLUMNS}\n| NULL | x | NULL | NULL | NULL |")
    assert "NULL in" in story.fails("sample")
    samples(story)
    with pytest.raises(AssertionError, match='dimension "sample" was to fail, and did not: Counts'):
        story.fails("sample")
    with pytest.raises(UsageError, match='there is no ETL "sampel"'):
        story.load("sampel")


def test_a_fault_in_the_users_own_python_is_shown_whole(tmp_path: Path) -> None:
    """An error in the user's own Python code fails the test with its traceback."""

    def read() -> Any:
        return vars(THING)["no such thing"]

    story = Story(config(replace(THING, source=rows(read))), tmp_path)
    with pytest.raises(AssertionError, match=re.escape('return vars(THING)["no such thing"]')):
        story.load()


def test_a_table_that_was_never_loaded_is_reported(story: Story) -> None:
    """An expectation of a table that was never loaded fails, and the message says so."""
    with pytest.raises(AssertionError, match="sample_dim is not there: nothing was loaded into it"):
        story.expect("sample_dim\n| code |")


def test_a_rebuild_starts_again(story: Story) -> None:
    """A rebuild drops the rows that the source no longer has, as --delete_existing_tables does."""
    samples(story, "a", "b")
    story.day(f"samples\n{COLUMNS}\n| 1 | b | NULL | NULL | NULL |")
    story.load("sample")
    assert story.rows("SELECT count(*) FROM sample_dim") == [(2,)]
    story.load("sample", rebuild=True)
    assert story.rows("SELECT id, title FROM sample_dim") == [(2, "b")]


def test_what_is_switched_off_is_loaded_by_name_only(tmp_path: Path) -> None:
    """Without names, a story loads the active ETLs, as a refresh does.

    An inactive ETL is loaded by its name only.
    """
    story = Story(config(DAY, replace(SAMPLE, active=False)), tmp_path)
    assert set(story.load()) == {"day"}
    samples(story, "a")


@pytest.mark.parametrize(
    "at",
    [
        "2014-02-01",
        "2014-02-01 23:59:59",
        date(2014, 2, 1),
        datetime(2014, 2, 1, 12),
        # In UTC, this is still 1 February.
        datetime(2014, 2, 2, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
@pytest.mark.parametrize(
    "made", [SlowlyChangingDimension, type("Own", (SlowlyChangingDimension,), {})]
)
def test_a_story_says_which_day_it_is(tmp_path: Path, at: str | date, made: type) -> None:
    """New versions begin on the story's day (UTC), in bulk and row by row.

    The day stays the same until the story sets another one.
    """
    story = Story(
        config(replace(PERSON, factory=factory(made, **PERSON.factory.arguments))), tmp_path
    )
    story.day("people\n| person_id | name | city |\n| 1 | Ann | Rome |")
    story.load()
    story.day("people\n| person_id | name | city |\n| 1 | Ann | Oslo |", at=at)
    story.load()
    story.day("people\n| person_id | name | city |\n| 1 | Ann | Bern |")
    story.load()
    story.day(at="2014-03-01")
    story.day("people\n| person_id | name | city |\n| 1 | Ann | Graz |")
    story.load()
    story.expect("""
        person_dim
        | city | valid_from |
        | Rome | 1900-01-01 |
        | Oslo | 2014-02-01 |
        | Bern | 2014-02-01 |
        | Graz | 2014-03-01 |
        """)


def test_a_story_that_says_no_day_is_in_the_present(story: Story) -> None:
    """A story without a day uses the current time, as every other run."""
    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    assert before <= story.project.clock() <= datetime.now(UTC).replace(tzinfo=None)


def test_files_are_those_of_the_storys_folder(tmp_path: Path) -> None:
    """A relative path of a source is in the story's folder, not in that of config.py."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "things.csv").write_text("code,title\nA,theirs\n")
    read = replace(THING, source=file("things.csv"))
    story = Story(config(read, __file__=str(theirs / "config.py")), tmp_path / "mine")
    (tmp_path / "mine" / "things.csv").write_text("code,title\nA,mine\n")
    story.load()
    story.expect("thing_dim\n| title |\n| mine |")


@pytest.mark.parametrize("name", ["warehouse.duckdb", "shop.sqlite"])
def test_a_database_that_is_there_is_left_alone(tmp_path: Path, name: str) -> None:
    """A story refuses a folder that already has a database, and does not change it.

    Otherwise a story in the folder of the user's own warehouse would load into it.
    """
    (tmp_path / name).write_text("theirs")
    with pytest.raises(
        UsageError, match="is there already, and may be anybody's; give a story a new folder"
    ):
        Story(config(THING), tmp_path)
    assert (tmp_path / name).read_text() == "theirs"


def test_the_kit_stays_out_of_production() -> None:
    """The package does not import pypelineetl.testing, which itself does not import pytest."""
    code = (
        "import sys, pypelineetl, pypelineetl.cli, pypelineetl.celery\n"
        "assert 'pypelineetl.testing' not in sys.modules\n"
        "import pypelineetl.testing\n"
        "assert 'pytest' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_documented_example_runs(tmp_path: Path) -> None:
    """The test in docs/testing.md passes with this repository's own config."""
    [code] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - it is ours
    names["test_a_move_is_a_new_version"](tmp_path)
