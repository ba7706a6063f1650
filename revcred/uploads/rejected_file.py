"""Rejected rows as they stand in the file, to be corrected and uploaded again."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import BinaryIO

from revcred.models import Upload
from revcred.uploads import files, problems
from revcred.uploads.opening import open_upload
from revcred.uploads.reading import FileFormat, ListReader, file_format_of

PROBLEM_ROWS_PER_QUERY = 1_000

CONTENT_TYPES = {
    FileFormat.CSV: "text/csv",  # in the encoding of the file
    FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    FileFormat.JSON: "application/json",
    FileFormat.JSON_LINES: "application/x-ndjson",
    FileFormat.YAML: "application/yaml",
    FileFormat.TEXT_TABLE: "text/markdown",
}


@dataclass(frozen=True)
class RejectedFile:
    """The name and content type under which rejected rows are downloaded."""

    name: str
    content_type: str


def rejected_file_of(upload: Upload) -> RejectedFile | None:
    """Return the file of rejected rows, in the format of the upload's file.

    None if no row was rejected, or the rows have been deleted.
    """
    has_rejected = upload.is_staged and (
        upload.outcome.get("meanwhile") or upload.preview.get("counts", {}).get("rejected")
    )
    paths = (files.list_file_path(upload.pk), files.rejected_file_path(upload.pk))
    path = next((path for path in paths if path.exists()), None)
    if not has_rejected or path is None:
        return None
    file_format = file_format_of(path, upload.file_name)
    name = PurePath(upload.file_name)
    return RejectedFile(
        f"{name.stem}-rejected{name.suffix or f'.{file_format}'}", CONTENT_TYPES[file_format]
    )


def write_rejected_file(upload: Upload, to: BinaryIO) -> None:
    """Write the rejected rows: those kept at the end of the upload, or else from its file."""
    kept = files.rejected_file_path(upload.pk)
    if kept.exists():
        with kept.open("rb") as file:
            shutil.copyfileobj(file, to)
        return
    with open_upload(upload) as read:
        read.copier.copy_rows(to, _reasons_beside_rows(upload, read))


def keep_rejected_file(upload: Upload) -> None:
    """Keep the rejected rows in a file of their own, because the upload's file is deleted next."""
    if rejected_file_of(upload) is None or not files.list_file_path(upload.pk).exists():
        return
    with files.private_file(files.rejected_file_path(upload.pk)) as file:
        write_rejected_file(upload, file)


def _reasons_beside_rows(upload: Upload, read: ListReader) -> Iterator[str]:
    """Yield the number and the problems of each rejected row, right after it has been read."""
    # Both come in order of row numbers, so that neither has to fit into memory.
    rejected = _reasons_by_row(upload)
    rejected_number, reasons = next(rejected, (None, ""))
    for number, _ in read.rows:
        if number == rejected_number:
            yield f"Row {number:,}: {reasons}"
            rejected_number, reasons = next(rejected, (None, ""))
            if rejected_number is None:
                return


def _reasons_by_row(upload: Upload) -> Iterator[tuple[int | None, str]]:
    after = 0
    while found := problems.row_problems(upload, after=after, most=PROBLEM_ROWS_PER_QUERY):
        for number, of_row in groupby(found, key=lambda problem: problem.row):
            yield number, " ".join(_reason_text(problem) for problem in of_row)
            after = number


def _reason_text(problem: problems.RowProblem) -> str:
    return f"{problem.column}: {problem.message}" if problem.column else problem.message
