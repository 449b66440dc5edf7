"""The folder of a model's versions: they count up, are published whole or not at all, and are never touched again."""

import json
import os

import numpy as np
import pytest

import tf_reg
from tests.exports import published, small
from tf_reg.serving import exporting
from tf_reg.serving.write import versions, warmup


def test_versions_count_up_and_are_never_touched(tmp_path):
    model, base = small(), tmp_path / "m"
    assert [tf_reg.export(model, base).name for _ in range(2)] == ["1", "2"]
    assert tf_reg.export(model, base, version=7).name == "7"
    before = {file: file.read_bytes() for file in base.rglob("*") if file.is_file()}
    assert len(before) > 20
    with pytest.raises(ValueError, match=r"Version 2 exists .* never overwritten"):
        tf_reg.export(model, base, version=2)
    assert tf_reg.export(model, base).name == "8"
    assert all(file.read_bytes() == content for file, content in before.items())
    assert published(base) == ["1", "2", "7", "8"]


def test_a_version_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    base, verify = tmp_path / "m", exporting._verify

    def slow_verify(*args):
        (base / "1").mkdir(exist_ok=True)
        (base / "1" / "theirs").touch()
        return verify(*args)

    monkeypatch.setattr(exporting, "_verify", slow_verify)
    assert tf_reg.export(small(), base).name == "2"
    assert [child.name for child in (base / "1").iterdir()] == ["theirs"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        tf_reg.export(small(), tmp_path / "m")
    assert published(tmp_path / "m") == []


def test_a_model_that_is_written_wrong_is_not_published(tmp_path, monkeypatch):
    model, write = small(), exporting._write

    def write_another(interface, path):
        before = model.layers[-1].get_weights()
        model.layers[-1].bias.assign([5.0, 0.0, 0.0])
        write(interface, path)
        model.layers[-1].set_weights(before)

    monkeypatch.setattr(exporting, "_write", write_another)
    with pytest.raises(RuntimeError, match=r"Nothing was published: .*differs from the model by"):
        tf_reg.export(model, tmp_path / "m", examples=np.ones((2, 4)))
    assert published(tmp_path / "m") == []


def test_while_a_version_is_written_no_integer_name_shows(tmp_path, monkeypatch):
    seen, verify = [], exporting._verify

    def watching(*args):
        seen.extend(child.name for child in (tmp_path / "m").iterdir())
        return verify(*args)

    monkeypatch.setattr(exporting, "_verify", watching)
    tf_reg.export(small(), tmp_path / "m")
    assert len(seen) == 1
    assert not seen[0].isdecimal()


def test_bad_versions(tmp_path):
    model = small()
    for version in (0, -1, "1", 1.0, True, 2**63):
        with pytest.raises(ValueError, match="must be a positive integer"):
            tf_reg.export(model, tmp_path, version=version)


def test_everybody_may_read_a_version(tmp_path):
    before = os.umask(0o077)
    try:
        path = tf_reg.export(small(), tmp_path / "models" / "m")
    finally:
        os.umask(before)
    made = [path.parents[1], *path.parents[1].rglob("*")]
    assert len(made) > 12
    assert [file for file in made if file.stat().st_mode & 0o777 != (0o755 if file.is_dir() else 0o644)] == []


def test_a_link_has_a_name_of_its_own(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "flowers").symlink_to(tmp_path / "disk")
    path = tf_reg.export(small(), tmp_path / "flowers")
    assert json.loads((path / "assets.extra" / "tf_reg.json").read_text())["name"] == "flowers"
    assert b"disk" not in (path / warmup.FILE).read_bytes()


def test_next_versions(tmp_path):
    assert versions.next_version(tmp_path) == 1
    for name in ("2", "07", ".withdrawn-9", ".withdrawn-x", ".writing-50", "60x", "\u0667", str(2**63)):
        (tmp_path / name).mkdir()
    assert versions.versions(tmp_path) == [2, 7]
    assert versions.next_version(tmp_path) == 10
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ValueError, match=r"up to 9223372036854775807.*Received: 9223372036854775808"):
        versions.next_version(tmp_path)


def test_new_files_without_hard_links(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert versions.write_new(tmp_path / "a", "one")
    assert not versions.write_new(tmp_path / "a", "two")
    assert versions.write_new(tmp_path / "a", "three", replace=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "three"}
    monkeypatch.setattr(versions, "_make_readable", lambda path: path.name == "b" and refuse())
    with pytest.raises(PermissionError):
        versions.write_new(tmp_path / "b", "one")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
