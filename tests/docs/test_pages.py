"""The pages hang together: links, pictures, the length of the README, and the names of the reference."""

import json
import re
import urllib.parse

import pytest

import tf_reg
from tests.docs.pages import PAGES, blocks, outside_code
from tests.test_public import NAMES
from tests.tools import ROOT

README = ROOT / "README.md"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", outside_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(outside_code(page)):
        path, _, anchor = urllib.parse.unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_needs_the_network(page):
    assert "http" not in re.sub(r"http://localhost:\d+", "", page.read_text())


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_the_readme_shows_a_picture_first():
    first_screen = README.read_text().splitlines()[:12]
    assert any(line.startswith("![") for line in first_screen)


def test_the_readme_has_two_commands_that_install_and_go_on():
    commands = re.findall(r"^pip install -e .* && .*$", README.read_text(), flags=re.MULTILINE)
    assert commands == ["pip install -e . && python scripts/train.py --reg l1l2", 'pip install -e ".[test]" && pytest']


def test_every_picture_is_shown_and_small():
    pages = " ".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs/pictures").glob("*.png"):
        assert f"pictures/{picture.name}" in pages
        assert picture.stat().st_size < 100_000


def test_every_page_is_in_the_table_of_contents():
    [contents] = re.findall(r"```\{toctree\}(.*?)```", (ROOT / "docs/index.md").read_text(), flags=re.DOTALL)
    listed = set(re.findall(r"<(.+)>$", contents, flags=re.MULTILINE))
    assert listed | {"index"} == {page.stem for page in PAGES if page.parent == ROOT / "docs"}


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs/api.md").read_text()
    listed = set(re.findall(r"^   ([A-Za-z][\w.]*)$", reference, flags=re.MULTILINE))
    assert listed == set(NAMES)


def test_the_results_of_the_readme_are_those_of_the_results():
    """A row of the README's table is a row of the table in docs/results.md."""

    def rows(page):
        table = re.search(
            r"^\|.*\| remaining parameters \|\n\|[-|]*\n((?:\|.*± .*\n)+)", page.read_text(), re.MULTILINE
        )
        return [tuple(cell.strip() for cell in line.split("|")[-4:-1]) for line in table[1].splitlines()]

    assert len(rows(README)) == 5
    assert set(rows(README)) <= set(rows(ROOT / "docs/results.md"))


def test_the_citation_has_the_version_and_license():
    text = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^([\w-]+): (.+)$", text, flags=re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert json.loads(fields["version"]) == tf_reg.__version__
    assert fields["license"] == "Apache-2.0"
    assert {"message", "title", "abstract"} <= set(fields)
    assert "authors:" in text


def test_shell_blocks_are_where_they_are_looked_for():
    assert [len(blocks(README, "sh"))] == [2]
