"""Room for uploaded files: of each user, of all together, and what stays free on the disk.

PostgreSQL often has the same disk, and gateways are turned away once it is full.
"""

from contextlib import suppress
from shutil import disk_usage

from django.conf import settings
from django.utils.translation import gettext

from revcred.models import Upload, User
from revcred.uploads import files


class NoRoom(Exception):
    """There is no room for the file. The text is the sentence for the page."""


def check_room(*, by: User | None, more: int) -> None:
    """Raise NoRoom unless the user may keep so many more bytes, and there is room for them."""
    check_space(more)
    if by is not None:
        check_own_room(by=by, more=more)


def check_own_room(*, by: User, more: int) -> None:
    """Raise NoRoom unless the user may keep so many more bytes."""
    if _kept_bytes(by) + more > settings.UPLOAD_BYTES_PER_USER:
        message = gettext(
            "The files of your uploads may have %(value)s together. Apply or cancel one"
            " that waits, or upload a smaller file."
        ) % {"value": _in_words(settings.UPLOAD_BYTES_PER_USER)}
        raise NoRoom(message)


def check_space(more: int) -> None:
    """Raise NoRoom unless there is room for so many more bytes, whoever uploads them."""
    if sum(_file_sizes().values()) + more > settings.UPLOAD_BYTES:
        message = gettext(
            "The files of all uploads may have %(value)s together. Try again when other"
            " uploads have ended."
        ) % {"value": _in_words(settings.UPLOAD_BYTES)}
        raise NoRoom(message)
    disk = disk_usage(files.uploads_directory())
    if (disk.free - more) * 100 < disk.total * settings.UPLOAD_FREE_PERCENT:
        message = gettext(
            "The disk is too full for this file. Tell whoever runs revcred, and try again later."
        )
        raise NoRoom(message)


def _kept_bytes(user: User) -> int:
    """Return the bytes of all files that are kept of the user's uploads."""
    sizes = _file_sizes()
    own = Upload.objects.filter(by=user, pk__in={number for number, _ in sizes if number})
    numbers = {*own.values_list("pk", flat=True)}
    return sum(size for (number, _), size in sizes.items() if number in numbers)


def _file_sizes() -> dict[tuple[int | None, str], int]:
    """Return the bytes of each file, by the number of its upload, if it has one, and its name."""
    sizes = {}
    for path, number in files.stored_files():
        with suppress(FileNotFoundError):  # deleted meanwhile
            sizes[number, path.name] = path.stat().st_size
    return sizes


def _in_words(size: int) -> str:
    return gettext("%(size)s GB") % {"size": f"{size / 10**9:,.3g}"}
