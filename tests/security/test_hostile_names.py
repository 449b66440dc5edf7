"""Hostile names: they stay text in a report, and no name of a run, a model or a class leads out of a folder."""

import html.parser
import json
import os

import numpy as np
import pytest
from PIL import Image

from tf_reg.recipes.data import folders
from tf_reg.recipes.naming import stem
from tf_reg.reporting.page import Picture, Section, page
from tf_reg_cli.config import Config

NAMES = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "</td></table><h1>",
    "{{ 7 * 7 }}", "<!-- ", "&lt;b&gt;", "]]>", "$\\evil{", "javascript:alert(1)",
]  # fmt: skip


class Elements(html.parser.HTMLParser):
    """What a page is made of: its elements with the names of their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.links, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        self.elements.append(("a comment", ()))


def page_of(command, tmp_path, name, columns, classes):
    rows = [f'"{column}"' for column in (c.replace('"', '""') for c in (*columns, "target"))]
    text = [",".join(rows)]
    random = np.random.default_rng(0)
    for number in range(90):
        kind = classes[number % len(classes)].replace('"', '""')
        text.append(
            ",".join([*(f"{value + number % 3:.3f}" for value in random.normal(size=len(columns))), f'"{kind}"'])
        )
    (tmp_path / "a.csv").write_text("\n".join(text) + "\n")
    flags = ["--target", "target", "--epochs", 20, "--name", name, "--quiet", "--model", "linear", "--reg", "l1"]
    code, _, err = command("train", "--dataset", "csv:a.csv", *flags)
    assert code == 0, err
    return Elements((tmp_path / "runs" / name / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_report_has_no_element_by_hostile_names(command, tmp_path):
    """Columns and classes of other names change the text of a run's report, and none of its elements."""
    plain = page_of(command, tmp_path, "plain", [f"column{n}" for n in range(len(NAMES))], ["one", "two", "three"])
    evil = page_of(command, tmp_path, "evil", NAMES, NAMES[:3])
    assert len(plain.elements) > 30
    assert evil.elements == plain.elements
    assert all(link.startswith("data:") for link in evil.links)
    text = "".join(evil.words)
    assert [name for name in NAMES[:5] if name not in text] == []


def page_with(name):
    sections = [
        Section(name, [name], [[name, name], [name, name]], lines=name, pictures=[Picture(b"", name)], closed=closed)
        for closed in (True, False)
    ]
    return Elements(page(name, sections, name))


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_page_makes_an_element(name):
    """Whatever a layer, a column or a run is called: the same elements, with the name as their text."""
    plain, evil = page_with("plain"), page_with(name)
    assert evil.elements == plain.elements
    assert evil.words.count(name) == plain.words.count("plain") > 10
    assert evil.links == plain.links


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", ".hidden", "a\\b", "a\nb", "a\0b", "", "~root"])
@pytest.mark.parametrize("way", ["flag", "config"])
def test_the_name_of_a_run_is_no_path(way, name, command, tmp_path):
    if way == "config":
        (tmp_path / "a.json").write_text(json.dumps({"name": name}))
        words = ["--config", "a.json"]
    else:
        words = ["--name", name]
    code, _, err = command("train", *words)
    assert code == 2
    assert "--name must be" in err or name == ""
    assert [path.name for path in tmp_path.iterdir()] == (["a.json"] if way == "config" else [])


@pytest.mark.parametrize(
    "dataset", ["../../x", "/etc/x", "..", "csv:..", "csv:/a/../..", "folder:/", "folder:..", "a/../../b"]
)
def test_a_name_made_of_a_data_set_is_one_folder(dataset):
    name = stem(Config(dataset=dataset, target="a" if dataset.startswith("csv") else None))
    assert os.path.basename(name) == name
    assert name not in ("", ".", "..")


@pytest.mark.parametrize("dataset", ["../../x", "huggingface:../x", "..", "kaggle:x", "evil:set"])
def test_a_data_set_of_a_hostile_name_is_none(dataset, command, tmp_path):
    code, _, err = command("train", "--dataset", dataset)
    assert code == 2
    assert dataset in err
    assert list(tmp_path.iterdir()) == []


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), 16 * number, "uint8")).save(path)


@pytest.mark.parametrize("how", ["a folder", "a file", "within"])
def test_links_out_of_a_folder_of_images_are_said(how, tmp_path):
    for number in range(3):
        picture(tmp_path / "data" / "a" / f"{number}.png", number)
        picture(tmp_path / "elsewhere" / f"{number}.png", number + 5)
    picture(tmp_path / "data" / "b" / "own.png", 9)
    if how == "a folder":
        (tmp_path / "data" / "b" / "own.png").unlink()
        (tmp_path / "data" / "b").rmdir()
        (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    else:
        target = tmp_path / "elsewhere" / "0.png" if how == "a file" else tmp_path / "data" / "a" / "0.png"
        (tmp_path / "data" / "b" / "link.png").symlink_to(target)
    notes = folders.open_folder(str(tmp_path / "data"), (8, 8)).notes
    if how == "within":
        assert notes == ()
        return
    count = 3 if how == "a folder" else 1
    said = f"{count} images lie outside {tmp_path / 'data'}, where links lead to, such as {tmp_path / 'elsewhere'}"
    assert [note.startswith(said) for note in notes] == [True]


def test_the_name_of_a_class_is_one_of_a_folder(tmp_path):
    for name in (NAMES[3].replace("/", "|"), "..evil", "$(touch x)", "a;b"):
        picture(tmp_path / "data" / name / "a.png", 1)
    source = folders.open_folder(str(tmp_path / "data"), (8, 8))
    assert len(source.class_names) == 3  # ..evil is hidden, and so no class
    assert all(os.sep not in name for name in source.class_names)
