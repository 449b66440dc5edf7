"""A page of HTML: everything escaped, everything inside."""

import re

import pytest

from tf_reg.reporting.page import Picture, Section, page, write

EVIL = "<script>alert('a')</script>\"&'"
PNG = b"\x89PNG\r\n"


def test_everything_is_escaped():
    section = Section(EVIL, [EVIL], [[EVIL], [EVIL]], lines=EVIL, pictures=[Picture(PNG, EVIL)], closed=True)
    made = page(EVIL, [section, Section(EVIL, rows=[[EVIL]])], EVIL)
    assert "<script" not in made
    assert "alert(&#39;a&#39;)" in made
    assert not re.search(r'alt="[^"]*["<>]alert', made)


def test_nothing_is_loaded_from_elsewhere():
    made = page("a", [Section("b", pictures=[Picture(PNG, "c")])])
    addresses = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", made)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in made
    assert "default-src 'none'" in made
    assert 'src="data:image/png;base64,iVBORw0K"' in made


def test_what_is_empty_is_left_out_and_text_keeps_its_form(tmp_path):
    write(tmp_path / "a.html", "é 日本", [Section("one", lines="a\n  b"), Section("two", ["x"], closed=True)])
    made = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<title>é 日本</title>" in made
    assert "<pre>a\n  b</pre>" in made
    assert "<table" not in made
    assert "<img" not in made
    assert made.count("<details") == 1
    assert "lead" not in made.split("<body>")[1]


@pytest.mark.parametrize(("words", "expected"), [(0, []), (1, ["a", "c"]), (2, ["a", "b", "c", "d"])])
def test_words_are_flush_left_and_numbers_right(words, expected):
    made = page("t", [Section("s", rows=[["a", "b"], ["c", "d"]], words=words)])
    assert re.findall(r'class="word">(\w)<', made) == expected
    assert re.findall(r"<(?:td|th)[^>]*>(\w)</", made) == ["a", "b", "c", "d"]
