"""Frames and files as raw columns: arrays of numbers, of dates or of text, whatever they came as."""

from __future__ import annotations

import importlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_reg.tables import csv_file
from tf_reg.tables.errors import TableError

Raw = dict[str, np.ndarray]  # float64, datetime64 or objects that are str, "" where a value is missing; (rows,)
FILES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".npz": "npz"}
EXPECTED = "a frame of pandas or polars, a dictionary of arrays, or a file of the type .csv, .tsv, .parquet or .npz"


def raw_columns(source: Any) -> Raw:
    """Return the columns of a table, by their names.

    Args:
        source: A frame of pandas or polars, a dictionary of arrays, or the path of a file.

    Raises:
        TableError: Something else, a file that can't be read, columns of several lengths, or no rows.
    """
    if isinstance(source, (str, os.PathLike)):
        found = _of_file(Path(source))
    elif isinstance(source, Mapping):
        found = _of_arrays(source)
    else:
        package = type(source).__module__.partition(".")[0]
        readers = {"pandas": _of_pandas, "polars": _of_polars}
        frame = type(source).__name__ in ("DataFrame", "LazyFrame")
        if package not in readers or not frame:
            raise TableError(f"source is {EXPECTED}. Received: {type(source).__name__}.")
        found = readers[package](source)
    lengths = {len(values) for values in found.values()}
    if len(lengths) > 1 or not lengths or lengths == {0}:
        raise TableError(f"A table needs one row or more, and as many values in each column. Received: {lengths or 0}.")
    return found


def _of_file(path: Path) -> Raw:
    kind = FILES.get(path.suffix.lower())
    if kind is None:
        raise TableError(f"source is {EXPECTED}. Received: {path}.")
    if not path.is_file():
        raise TableError(f"{path} can't be read: there is no such file.")
    try:
        return {"csv": csv_file.read, "parquet": _read_parquet, "npz": _read_npz}[kind](path)
    except OSError as error:
        raise TableError(f"{path} can't be read: {error.strerror or error}.") from error


def _read_parquet(path: Path) -> Raw:
    pandas, pyarrow = _library("pandas", "a parquet file"), _library("pyarrow", "a parquet file")
    try:
        return _of_pandas(pandas.read_parquet(path))
    except (pyarrow.ArrowException, ValueError) as error:
        raise TableError(f"{path} can't be read as a parquet file: {str(error).splitlines()[0]}") from error


def _library(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TableError(f'{what} needs {name}, which isn\'t installed: pip install -e ".[tables]".') from None


def _read_npz(path: Path) -> Raw:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            return _of_arrays({name: arrays[name] for name in arrays.files})
    except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise TableError(
            f"{path} can't be read as an npz file of arrays of numbers, dates or text: {str(error).splitlines()[0]}."
        ) from error


def _of_arrays(arrays: Mapping[Any, Any]) -> Raw:
    """Arrays as columns; one of two axes is a column for each of its places: `x_0`, `x_1` and so on."""
    found: Raw = {}
    for name, given in arrays.items():
        array = _filled(given) if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
        if array.dtype.kind in "US" and not isinstance(given, np.ndarray):
            array = np.asarray(given, object)  # else a missing value would be the text "nan"
        if array.ndim == 2:
            parts = {f"{name}_{place}": array[:, place] for place in range(array.shape[1])}
        else:
            parts = {str(name): array}
        for part, values in parts.items():
            if values.ndim != 1 or part in found:
                raise TableError(
                    f"A table is made of arrays of one axis, or of two, (rows, columns), each of another name. "
                    f"Received: {part!r} of the shape {array.shape}."
                )
            found[part] = _of_array(part, values)
    return found


def _filled(masked: np.ma.MaskedArray) -> np.ndarray:
    """What is masked is missing. `np.asarray` would take the numbers below the mask."""
    if masked.dtype.kind in "iuf":
        return np.ma.filled(masked.astype("float64"), np.nan)
    if masked.dtype.kind == "M":
        return masked.filled(np.datetime64("NaT"))
    filled = masked.data.astype(object)
    filled[np.ma.getmaskarray(masked)] = None
    return filled


def _of_array(name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iuf":
        return values.astype("float64")
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    if values.dtype.kind in "OUSb":
        return _texts(name, values.tolist())
    raise TableError(f"The column {name!r} must hold numbers, dates or text. Received: the type {values.dtype}.")


def _of_pandas(frame: Any) -> Raw:
    import pandas as pd

    names = [str(name) for name in frame.columns]
    csv_file.check_names(names, "The frame")
    found: Raw = {}
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        if isinstance(series.dtype, pd.CategoricalDtype):
            series = series.astype(object)
        if pd.api.types.is_bool_dtype(series.dtype) or not pd.api.types.is_numeric_dtype(series.dtype):
            if pd.api.types.is_datetime64_any_dtype(series.dtype):
                naive = series if series.dt.tz is None else series.dt.tz_convert("UTC").dt.tz_localize(None)
                found[name] = naive.to_numpy("datetime64[us]")
            else:
                found[name] = _texts(name, [None if one else v for v, one in zip(series, series.isna(), strict=True)])
        else:
            found[name] = _of_array(name, series.to_numpy(dtype="float64", na_value=np.nan))
    return found


def _of_polars(frame: Any) -> Raw:
    if hasattr(frame, "collect"):
        frame = frame.collect()
    import polars as pl

    found: Raw = {}
    for series in frame.get_columns():
        if series.dtype.is_numeric():
            found[series.name] = series.cast(pl.Float64).to_numpy()
        elif series.dtype in (pl.Date, pl.Datetime):
            found[series.name] = series.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
        else:
            found[series.name] = _texts(series.name, series.to_list())
    return found


def _texts(name: str, values: list[Any]) -> np.ndarray:
    """Values of any types as text, "" where one is missing."""
    array = np.empty(len(values), object)
    for row, value in enumerate(values):
        if isinstance(value, (list, tuple, dict, set, np.ndarray)):
            raise TableError(
                f"The column {name!r} must hold numbers, dates or text. Received: a {type(value).__name__} in row "
                f"{row + 1:,}. Make columns of its parts, or take the column out of the table."
            )
        if value is None or value != value:
            array[row] = ""
        elif isinstance(value, bytes):
            array[row] = value.decode(errors="replace")
        else:
            array[row] = str(value)
    return array
