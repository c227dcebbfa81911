"""The pages of results say what the stored results say."""

from pathlib import Path

from make_readme import page
from methods_table import with_methods

HERE = Path(__file__).parent


def test_the_page_is_that_of_the_results() -> None:
    assert (HERE / "README.md").read_text() == page(), "run: python tests/benchmarks/make_readme.py"


def test_the_table_of_methods_is_that_of_the_results() -> None:
    readme = (HERE.parents[1] / "README.md").read_text()
    assert readme == with_methods(readme), "run: python tests/benchmarks/make_readme.py"
