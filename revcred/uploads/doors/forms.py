"""Forms of an upload's pages: its file, its columns, and the choices on unknown entries."""

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

NOT_USED_CHOICE = ("", "not used")
FIXED_VALUE_PREFIX = "all_"  # of form fields for values that every row has


class ReadingFields(forms.Form):
    """Fields for reading a CSV file whose encoding or separator is not recognised."""

    encoding = forms.ChoiceField(
        choices=[("", "recognise it from the file"), *KNOWN_ENCODINGS.items()],
        required=False,
        help_text="A file that Excel saved as plain CSV is often in Windows-1252.",
    )
    delimiter = forms.ChoiceField(
        label="Cells are separated by",
        choices=[("", "recognise it from the file"), *DELIMITER_TITLES.items()],
        required=False,
    )


class UploadFileForm(ReadingFields):
    file = forms.FileField(
        help_text="CSV, XLSX, JSON or JSON Lines, or an export of another system; at most 1 GB."
    )

    field_order = ("file", "encoding", "delimiter")


class FixedValueField(forms.CharField):
    """A field with the rules of the column's cells, for a value that every row has."""

    def __init__(self, column: ListColumn, **options: Any) -> None:
        super().__init__(label=column.title, help_text=column.help, required=False, **options)
        self._column = column

    def clean(self, value: Any) -> str:
        try:
            return mapping.parse_fixed_value(self._column, super().clean(value))
        except InvalidCell as error:
            raise ValidationError(str(error)) from error


class ColumnsForm(ReadingFields):
    """A choice for each column of the file, and fields for values that every row has."""

    def __init__(self, data: Any = None, *, upload: Upload) -> None:
        initial = {"encoding": upload.encoding, "delimiter": upload.delimiter}
        super().__init__(data, initial=initial)
        self.upload = upload
        self.kind = ListKind(upload.kind)
        choices = [(column.name, column.title) for column in columns.columns_of(self.kind)]
        # Headers may be any text, so positions name the fields.
        for position, name in enumerate(upload.header):
            self.fields[f"column_{position}"] = forms.ChoiceField(
                label=name,
                # A header that is mapped to nothing is left out, which is no error.
                choices=[NOT_USED_CHOICE, *choices],
                required=False,
                initial=upload.mapping.get(str(position), ""),
            )
        for column in columns.columns_of(self.kind):
            if mapping.may_be_fixed(column):
                value = upload.fixed_values.get(column.name, "")
                self.fields[FIXED_VALUE_PREFIX + column.name] = FixedValueField(
                    column, initial=value
                )

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The form field and the sample of each column of the file."""
        return [
            {
                "field": self[f"column_{position}"],
                "sample": [row[position] for row in self.upload.sample if position < len(row)],
            }
            for position in range(len(self.upload.header))
        ]

    @property
    def fixed_value_fields(self) -> list[forms.BoundField]:
        """Fields for columns that are not mapped, and those with errors."""
        mapped = {FIXED_VALUE_PREFIX + name for name in self.upload.mapping.values()}
        fields = [self[name] for name in self.fields if name.startswith(FIXED_VALUE_PREFIX)]
        return [field for field in fields if field.name not in mapped or field.errors]

    @property
    def opens_fixed_values(self) -> bool:
        """True if a fixed value is set, wrong or required, so that its section is shown open."""
        required = mapping.missing_columns(self.kind, self.upload.mapping)
        return any(
            field.value() or field.errors or field.name.removeprefix(FIXED_VALUE_PREFIX) in required
            for field in self.fixed_value_fields
        )

    def fixed_values(self) -> dict[str, str]:
        """Return the values that every row has, by column."""
        data = self.cleaned_data
        values = {
            name.removeprefix(FIXED_VALUE_PREFIX): data[name]
            for name in data
            if name.startswith(FIXED_VALUE_PREFIX)
        }
        return {name: value for name, value in values.items() if value}

    def chosen_mapping(self) -> dict[int, str]:
        """Return revcred's column for each position of the header that has one."""
        data = self.cleaned_data
        names = {
            position: data.get(f"column_{position}", "")
            for position in range(len(self.upload.header))
        }
        return {position: name for position, name in names.items() if name}

    @property
    def is_read_anew(self) -> bool:
        """True if the file is to be read in another way, so that its columns may be others."""
        return not self.upload.header or bool({"encoding", "delimiter"} & {*self.changed_data})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.is_read_anew:
            return cleaned
        chosen = self.chosen_mapping()
        titles = {column.name: column.title for column in columns.columns_of(self.kind)}
        for position, name in chosen.items():
            if [*chosen.values()].count(name) > 1:
                message = f"Another column is {titles[name]}, too. Choose one of them."
                self.add_error(f"column_{position}", message)
        # Which of the two was meant, only the person knows.
        for name in {*self.fixed_values()} & {*chosen.values()}:
            message = "A column of the file has this value. Leave one of them out."
            self.add_error(FIXED_VALUE_PREFIX + name, message)
        if missing := mapping.missing_columns(self.kind, chosen, self.fixed_values()):
            names = ", ".join(titles[name] for name in missing)
            self.add_error(None, f"A list of {self.kind} needs a column for: {names}.")
        return cleaned


def _radio_choice(
    label: str, reject_label: str, other: tuple[str, str], *, required: bool = True
) -> forms.ChoiceField:
    """Return a field that rejects rows, or does the other thing; left out, it rejects."""
    return forms.ChoiceField(
        label=label,
        choices=[("reject", reject_label), other],
        widget=forms.RadioSelect,
        required=required,
    )


REJECT_ROW_LABEL = "Reject the row"
# Shared by lists of credentials (holders) and of subscribers (customers).
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
            "Keys of revoked credentials",
            REJECT_ROW_LABEL,
            ("use_again", "Use the key again, from now on"),
            required=False,
        ),
    },
}


class ChoicesForm(forms.Form):
    """Choices on rows that name unknown things, or things of other customers.

    It has fields only for columns that the list has.
    """

    def __init__(self, data: Any = None, *, upload: Upload) -> None:
        super().__init__(data, initial=upload.choices)
        names = {*upload.mapping.values(), *upload.fixed_values}
        for name, fields in CHOICE_FIELDS_BY_COLUMN.items():
            if name in names and _has_choice(ListKind(upload.kind), name):
                # Forms share no fields: a form changes its own.
                self.fields.update(deepcopy(fields))
        if upload.kind == ListKind.SUBSCRIBERS and "customer" in names:
            self.fields["people_of_others"] = deepcopy(PEOPLE_OF_OTHERS_FIELD)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("subscriptions") == "create" and not cleaned.get("product"):
            self.add_error("product", "Choose the product of new subscriptions.")
        return cleaned

    def choices(self) -> UploadChoices:
        """Return the choices; those without a field keep their default, which rejects rows."""
        data = self.cleaned_data
        product = data.get("product")
        chosen = {name: value for name, value in data.items() if value}
        return UploadChoices(**chosen | {"product": product.external_key if product else ""})


def _has_choice(kind: ListKind, name: str) -> bool:
    # In lists of other kinds, columns of these names are what the row itself is about.
    return name == "customer" or kind is ListKind.CREDENTIALS
