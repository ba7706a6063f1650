"""What is asked of a list: the file, which column is which, and what to do where it is unclear."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.models import Product, Upload
from revcred.uploads import columns, mapping
from revcred.uploads.actions import UploadChoices
from revcred.uploads.columns import InvalidCell, ListColumn, ListKind
from revcred.uploads.reading import DELIMITER_TITLES, KNOWN_ENCODINGS

LEFT_OUT_CHOICE = ("", "left out")
FIXED_VALUE_PREFIX = "all_"


class ReadingFields(forms.Form):
    """How a CSV file is read, where it is not told rightly by itself."""

    encoding = forms.ChoiceField(
        choices=[("", "told by the file"), *KNOWN_ENCODINGS.items()],
        required=False,
        help_text="A file that Excel saved as plain CSV is often in Windows-1252.",
    )
    delimiter = forms.ChoiceField(
        label="Cells are separated by",
        choices=[("", "told by the file"), *DELIMITER_TITLES.items()],
        required=False,
    )


class UploadFileForm(ReadingFields):
    file = forms.FileField(
        help_text="CSV, XLSX, JSON or JSON Lines, or what another system exported; at most 1 GB."
    )

    field_order = ("file", "encoding", "delimiter")


class FixedValueField(forms.CharField):
    """What a cell of the column may say, or nothing."""

    def __init__(self, column: ListColumn, **options: Any) -> None:
        super().__init__(label=column.title, help_text=column.help, required=False, **options)
        self._column = column

    def clean(self, value: Any) -> str:
        try:
            return mapping.parse_fixed_value(self._column, super().clean(value))
        except InvalidCell as error:
            raise ValidationError(str(error)) from error


class ColumnsForm(ReadingFields):
    """A choice for each column of the file, and what every row has that no column says."""

    def __init__(self, said: Any = None, *, upload: Upload) -> None:
        known = {"encoding": upload.encoding, "delimiter": upload.delimiter}
        super().__init__(said, initial=known)
        self.upload = upload
        self.kind = ListKind(upload.kind)
        ours = [(each.name, each.title) for each in columns.columns_of(self.kind)]
        for position, name in enumerate(upload.header):
            self.fields[f"column_{position}"] = forms.ChoiceField(
                label=name,
                choices=[LEFT_OUT_CHOICE, *ours],
                required=False,
                initial=upload.mapping.get(str(position), ""),
            )
        for column in columns.columns_of(self.kind):
            if mapping.may_be_fixed(column):
                said = upload.for_all.get(column.name, "")
                self.fields[FIXED_VALUE_PREFIX + column.name] = FixedValueField(
                    column, initial=said
                )

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Each column of the file: its field, and what stands in its first rows."""
        return [
            {
                "field": self[f"column_{position}"],
                "first": [row[position] for row in self.upload.sample if position < len(row)],
            }
            for position in range(len(self.upload.header))
        ]

    @property
    def of_all(self) -> list[forms.BoundField]:
        """Of what no column says, or what is wrong."""
        said = {FIXED_VALUE_PREFIX + name for name in self.upload.mapping.values()}
        fields = [self[name] for name in self.fields if name.startswith(FIXED_VALUE_PREFIX)]
        return [each for each in fields if each.name not in said or each.errors]

    @property
    def asks_of_all(self) -> bool:
        """Whether it is worth a look: something is said there, or wrong, or needed."""
        needed = mapping.missing_columns(self.kind, self.upload.mapping)
        return any(
            each.value() or each.errors or each.name.removeprefix(FIXED_VALUE_PREFIX) in needed
            for each in self.of_all
        )

    def for_all(self) -> dict[str, str]:
        said = self.cleaned_data
        cells = {
            name.removeprefix(FIXED_VALUE_PREFIX): said[name]
            for name in said
            if name.startswith(FIXED_VALUE_PREFIX)
        }
        return {name: cell for name, cell in cells.items() if cell}

    def chosen(self) -> dict[int, str]:
        said = self.cleaned_data
        names = {at: said.get(f"column_{at}", "") for at in range(len(self.upload.header))}
        return {position: name for position, name in names.items() if name}

    @property
    def is_read_anew(self) -> bool:
        """Whether other columns may come out of the file, so that none can be named yet."""
        return not self.upload.header or bool({"encoding", "delimiter"} & {*self.changed_data})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.is_read_anew:
            return cleaned
        chosen = self.chosen()
        titles = {each.name: each.title for each in columns.columns_of(self.kind)}
        for position, name in chosen.items():
            if [*chosen.values()].count(name) > 1:
                self.add_error(f"column_{position}", f"More than one column is {titles[name]}.")
        for name in {*self.for_all()} & {*chosen.values()}:
            self.add_error(FIXED_VALUE_PREFIX + name, "A column of the file is that already.")
        if missing := mapping.missing_columns(self.kind, chosen, self.for_all()):
            names = ", ".join(titles[name] for name in missing)
            self.add_error(None, f"A list of {self.kind} needs a column for: {names}.")
        return cleaned


def _radio_choice(
    label: str, refuse: str, other: tuple[str, str], *, required: bool = True
) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label,
        choices=[("refuse", refuse), other],
        widget=forms.RadioSelect,
        required=required,
    )


REJECT_ROW_LABEL = "Refuse the row"
PEOPLE_OF_OTHERS_FIELD = _radio_choice(
    "People of another customer",
    REJECT_ROW_LABEL,
    ("join", "Make them members of this customer, too"),
    required=False,
)
CHOICE_FIELDS_BY_COLUMN: Mapping[str, Mapping[str, forms.Field]] = {
    "customer": {
        "customers": _radio_choice(
            "Unknown customers", REJECT_ROW_LABEL, ("create", "Create the customer")
        )
    },
    "holders": {
        "subscribers": _radio_choice(
            "Unknown holders", REJECT_ROW_LABEL, ("create", "Create the subscriber")
        ),
        "people_of_others": PEOPLE_OF_OTHERS_FIELD,
    },
    "subscription": {
        "subscriptions": _radio_choice(
            "Unknown subscriptions", REJECT_ROW_LABEL, ("create", "Create the subscription")
        ),
        "product": ModelChoiceField(
            Product.objects.all(),
            label="Product of new subscriptions",
            required=False,
            to_field_name="external_key",
            empty_label="",
        ),
    },
    "key": {
        "keys_of_others": _radio_choice(
            "Keys of another customer",
            REJECT_ROW_LABEL,
            ("take_over", "Move the key to this customer"),
        ),
        "revoked_keys": _radio_choice(
            "Keys that a revoked credential had",
            REJECT_ROW_LABEL,
            ("use_again", "Use the key again, from now on"),
            required=False,
        ),
    },
}


class ChoicesForm(forms.Form):
    """What to do about rows that name what is not there, or what is somebody else's.

    Only of what the list has columns for.
    """

    def __init__(self, said: Any = None, *, upload: Upload) -> None:
        super().__init__(said, initial=upload.choices)
        said = {*upload.mapping.values(), *upload.for_all}
        for name, fields in CHOICE_FIELDS_BY_COLUMN.items():
            if name in said and _has_choice(ListKind(upload.kind), name):
                self.fields.update(deepcopy(fields))
        if upload.kind == ListKind.SUBSCRIBERS and "customer" in said:
            self.fields["people_of_others"] = deepcopy(PEOPLE_OF_OTHERS_FIELD)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("subscriptions") == "create" and not cleaned.get("product"):
            self.add_error("product", "Of which product?")
        return cleaned

    def choices(self) -> UploadChoices:
        said = self.cleaned_data
        product = said.get("product")
        chosen = {name: value for name, value in said.items() if value}
        return UploadChoices(**chosen | {"product": product.external_key if product else ""})


def _has_choice(kind: ListKind, name: str) -> bool:
    return name == "customer" or kind is ListKind.CREDENTIALS
