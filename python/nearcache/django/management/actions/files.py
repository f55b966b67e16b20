"""``manage.py nearcache files``: lists the files of SharedCaches and removes unused ones."""

from __future__ import annotations

import os
from typing import Any

from nearcache.django.management.file_listing import (
    HEADINGS,
    CacheFile,
    as_json_object,
    find_files,
    table_row,
    total,
)
from nearcache.django.management.formatting import counted, printable
from nearcache.django.management.output import Output


def run(output: Output, *, as_json: bool, remove: bool, **_: Any) -> None:
    """Writes a table of the files or, with ``remove``, deletes those that no process has open."""
    files, problems = find_files()
    for problem in problems:
        output.note(problem)
    removed = [file for file in files if remove and file.remove()]
    if as_json:
        output.json([as_json_object(file, file in removed) for file in files])
    elif remove:
        for file in removed:
            output.line(f"removed {printable(str(file.path))}")
        left = len(files) - len(removed)
        output.line(f"removed {total(removed)}; {counted(left, 'file is', 'files are')} in use")
    else:
        _list(output, files)


def _list(output: Output, files: list[CacheFile]) -> None:
    if not files:
        output.line(f"this user (uid {os.geteuid()}) has no cache files")
        return
    output.table([HEADINGS, *map(table_row, files)])
    unused = [file for file in files if not file.in_use]
    if unused:
        output.line(f"unused: {total(unused)}; delete with --remove")
