"""Kubernetes: secrets that hold a key, as Kong's and other ingress controllers read them.

https://developer.konghq.com/kubernetes-ingress-controller/ (credentials are secrets)
"""

from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    object_value,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

KUBERNETES_HEADER = ["customer", "name", "key", "secret", "tags"]
KEY_FIELDS = ("key", "apikey", "api-key", "api_key", "apiKey", "client_id", "token")
SECRET_FIELDS = ("client_secret", "secret")
OWNER_LABELS = ("customer", "organization", "company", "account")
TYPE_LABEL = "konghq.com/credential"


def _is_secret(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("kind") == "Secret"
        and isinstance(item.get("metadata"), dict)
    )


def _rows_of_secret(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    values = _values_of(item)
    if not any(values.get(each) for each in KEY_FIELDS):
        return
    about = object_value(item["metadata"])
    labels = object_value(about.get("labels"))
    yield [
        first_text(*(labels.get(each) for each in OWNER_LABELS), about.get("namespace")),
        text_value(about.get("name")),
        first_text(*(values.get(each) for each in KEY_FIELDS)),
        first_text(*(values.get(each) for each in SECRET_FIELDS)),
        join_texts(
            f"{label}={text_value(value)}"
            for label, value in labels.items()
            if label not in {*OWNER_LABELS, TYPE_LABEL}
        ),
    ]


def _values_of(item: dict[str, Any]) -> dict[str, str]:
    """Return the values of the secret, decoded; those that are no text are left out."""
    values = {}
    for name, encoded in object_value(item.get("data")).items():
        try:
            values[name] = b64decode(text_value(encoded), validate=True).decode()
        except (NoBase64, ValueError):
            continue
    # What is written as text wins, as it does in Kubernetes.
    written = object_value(item.get("stringData"))
    return values | {name: text_value(value) for name, value in written.items()}


def _left_out_of_secret(item: dict[str, Any]) -> Iterator[str]:
    if not any(_values_of(item).get(each) for each in KEY_FIELDS):
        yield "secrets without a key"


KUBERNETES_EXPORT = ExportFormat(
    "Kubernetes secrets",
    KUBERNETES_HEADER,
    _is_secret,
    _rows_of_secret,
    left_out=_left_out_of_secret,
)
