"""Forms of an upload's pages: its file, its columns, and the choices on unknown entries."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.languages import within_sentence
from revcred.models import Product, Upload
from revcred.texts import gettext_lazy, number_of
from revcred.uploads import columns, mapping
from revcred.uploads.actions import InvalidChoice, UploadChoices
from revcred.uploads.columns import KIND_LABELS, ListColumn, ListKind
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.moment_cells import DayOrder
from revcred.uploads.plans.plan_subscriptions import MAX_PATTERN_CHARACTERS
from revcred.uploads.reading import DELIMITER_TITLES, KNOWN_ENCODINGS
from revcred.uploads.state_cells import CredentialState, split_state_words

MOMENT_COLUMNS = sorted(
    {
        column.name
        for kind in ListKind
        for column in columns.columns_of(kind)
        if column.parse is columns.parse_moment_cell
    }
)
NOT_USED_CHOICE = ("", gettext_lazy("not used"))
FIXED_VALUE_PREFIX = "all_"  # of form fields for values that every row has


class ReadingFields(forms.Form):
    """Fields for reading a CSV file whose encoding or separator is not recognised."""

    encoding = forms.ChoiceField(
        choices=[("", gettext_lazy("recognise it from the file")), *KNOWN_ENCODINGS.items()],
        required=False,
        help_text=gettext_lazy("A file that Excel saved as plain CSV is often in Windows-1252."),
    )
    delimiter = forms.ChoiceField(
        label=gettext_lazy("Cells are separated by"),
        choices=[("", gettext_lazy("recognise it from the file")), *DELIMITER_TITLES.items()],
        required=False,
    )
    header_row = forms.IntegerField(
        label=gettext_lazy("Row that names the columns"),
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text=gettext_lazy("Empty: it is recognised, also below titles."),
    )


class UploadFileForm(ReadingFields):
    file = forms.FileField(
        help_text=gettext_lazy(
            "CSV, XLSX, JSON, JSON Lines, YAML or a Markdown table, or an export of another system;"
            " at most 1 GB."
        )
    )

    field_order = ("file", "encoding", "delimiter", "header_row")


class FixedValueField(forms.CharField):
    """A field with the rules of the column's cells, for a value that every row has."""

    def __init__(self, column: ListColumn, **options: Any) -> None:
        super().__init__(
            label=gettext(column.title), help_text=gettext(column.help), required=False, **options
        )
        self._column = column

    def clean(self, value: Any) -> str:
        try:
            return mapping.parse_fixed_value(self._column, super().clean(value))
        except InvalidCell as error:
            raise ValidationError(gettext(str(error))) from error


class ColumnsForm(ReadingFields):
    """A choice for each column of the file, and fields for values that every row has."""

    def __init__(self, data: Any = None, *, upload: Upload) -> None:
        initial = {
            "encoding": upload.encoding,
            "delimiter": upload.delimiter,
            "header_row": upload.header_row,
        }
        super().__init__(data, initial=initial)
        self.upload = upload
        self.kind = ListKind(upload.kind)
        choices = [(column.name, gettext(column.title)) for column in columns.columns_of(self.kind)]
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
        """The form field, the sample and what is known of each column of the file."""
        findings = self.upload.findings
        distinct = findings.get("distinct", ())
        return [
            {
                "field": self[f"column_{position}"],
                "sample": [row[position] for row in self.upload.sample if position < len(row)],
                "distinct": distinct[position] if position < len(distinct) else None,
                "reason": findings.get("reasons", {}).get(str(position)),
                "is_asked": position in findings.get("asked", ()),
                "is_hash": position in findings.get("hashes", ()),
                "is_token": position in findings.get("tokens", ()),
            }
            for position in range(len(self.upload.header))
        ]

    @property
    def used_columns(self) -> list[dict[str, Any]]:
        """Columns that are used, or that somebody has to decide on."""
        return [each for each in self.columns if each["field"].value() or each["is_asked"]]

    @property
    def unused_columns(self) -> list[dict[str, Any]]:
        return [each for each in self.columns if not (each["field"].value() or each["is_asked"])]

    @property
    def asked_names(self) -> list[str]:
        """Names of the columns that could all be the key."""
        return [self.upload.header[position] for position in self.upload.findings.get("asked", ())]

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
        read_by = {"encoding", "delimiter", "header_row"}
        return not self.upload.header or bool(read_by & {*self.changed_data})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.is_read_anew:
            return cleaned
        chosen = self.chosen_mapping()
        titles = {column.name: gettext(column.title) for column in columns.columns_of(self.kind)}
        joining = {column.name for column in columns.columns_of(self.kind) if column.joins}
        for position, name in chosen.items():
            if name not in joining and [*chosen.values()].count(name) > 1:
                message = gettext("Another column is %(titles)s, too. Choose one of them.") % {
                    "titles": titles[name]
                }
                self.add_error(f"column_{position}", message)
        # Which of the two was meant, only the person knows.
        for name in {*self.fixed_values()} & {*chosen.values()}:
            message = gettext("A column of the file has this value. Leave one of them out.")
            self.add_error(FIXED_VALUE_PREFIX + name, message)
        if missing := mapping.missing_columns(self.kind, chosen, self.fixed_values()):
            names = ", ".join(titles[name] for name in missing)
            self.add_error(
                None,
                gettext("A list of %(kind)s needs a column for: %(names)s.")
                % {"kind": within_sentence(KIND_LABELS[self.kind]), "names": names},
            )
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


REJECT_ROW_LABEL = gettext_lazy("Reject the row")
# Shared by lists of credentials (holders) and of subscribers (customers).
PEOPLE_OF_OTHERS_FIELD = _radio_choice(
    gettext_lazy("People of another customer"),
    REJECT_ROW_LABEL,
    ("join", gettext_lazy("Make them members of this customer, too")),
    required=False,
)
UNKNOWN_SUBSCRIPTIONS_FIELD = _radio_choice(
    gettext_lazy("Unknown subscriptions"),
    REJECT_ROW_LABEL,
    ("create", gettext_lazy("Create the subscription")),
)
MISSING_KEYS_FIELD = _radio_choice(
    gettext_lazy("New credentials without a key"),
    REJECT_ROW_LABEL,
    ("generate", gettext_lazy("Generate a key for each of them")),
    required=False,
)
STATE_FIELDS: Mapping[str, forms.Field] = {
    "inactive": _radio_choice(
        gettext_lazy("Credentials that are suspended, revoked or expired"),
        REJECT_ROW_LABEL,
        ("keep", gettext_lazy("Bring them in this state")),
        required=False,
    ),
}
MOMENT_FIELDS: Mapping[str, forms.Field] = {
    "day_order": forms.ChoiceField(
        label=gettext_lazy("Dates such as 03/04/2027"),
        choices=[
            (DayOrder.ASK, gettext_lazy("Reject the row if it can be read two ways")),
            (DayOrder.DAY_FIRST, gettext_lazy("3 April 2027: the day comes first")),
            (DayOrder.MONTH_FIRST, gettext_lazy("4 March 2027: the month comes first")),
        ],
        widget=forms.RadioSelect,
        required=False,
    ),
    "time_zone": forms.ChoiceField(
        label=gettext_lazy("Time zone of moments without an offset"),
        choices=[(name, name) for name in ("UTC", *sorted(available_timezones() - {"UTC"}))],
        required=False,
    ),
}
DUPLICATES_FIELD = forms.ChoiceField(
    label=gettext_lazy("Rows that say the same key, name or address"),
    choices=[
        ("reject", gettext_lazy("Reject all of them")),
        ("first", gettext_lazy("Keep the first one")),
        ("last", gettext_lazy("Keep the last one")),
    ],
    widget=forms.RadioSelect,
    required=False,
)
CHOICE_FIELDS_BY_COLUMN: Mapping[str, Mapping[str, forms.Field]] = {
    "customer": {
        "customers": _radio_choice(
            gettext_lazy("Unknown customers"),
            REJECT_ROW_LABEL,
            ("create", gettext_lazy("Create the customer")),
        )
    },
    "holders": {
        "subscribers": _radio_choice(
            gettext_lazy("Unknown holders"),
            REJECT_ROW_LABEL,
            ("create", gettext_lazy("Create the subscriber")),
        ),
        "people_of_others": PEOPLE_OF_OTHERS_FIELD,
    },
    "subscription": {
        "subscriptions": UNKNOWN_SUBSCRIPTIONS_FIELD,
        "product": ModelChoiceField(
            Product.objects.all(),
            label=gettext_lazy("Product of new subscriptions"),
            required=False,
            to_field_name="external_key",
            empty_label="",
        ),
    },
    "plan": {
        "plans": _radio_choice(
            gettext_lazy("Unknown plans"),
            REJECT_ROW_LABEL,
            ("create", gettext_lazy("Create a product of this name")),
            required=False,
        ),
        "subscriptions": UNKNOWN_SUBSCRIPTIONS_FIELD,
        "plan_keys": forms.CharField(
            label=gettext_lazy("External keys of new subscriptions of plans"),
            required=False,
            max_length=MAX_PATTERN_CHARACTERS,
            help_text=gettext_lazy(
                "{customer} and {plan} are replaced by those of the row. Where two would be equal,"
                " or somebody has the external key already, a number is added."
            ),
        ),
        "plan_separator": forms.ChoiceField(
            label=gettext_lazy("Several plans in one cell"),
            choices=[
                ("none", gettext_lazy("Only | separates plans")),
                ("comma", gettext_lazy("A comma separates plans, too")),
                ("semicolon", gettext_lazy("A semicolon separates plans, too")),
                ("slash", gettext_lazy("A slash separates plans, too")),
            ],
            widget=forms.RadioSelect,
            required=False,
        ),
    },
    "state": STATE_FIELDS,
    "switched_off": STATE_FIELDS,
    "withdrawn": STATE_FIELDS,
    **dict.fromkeys(MOMENT_COLUMNS, MOMENT_FIELDS),
    "key": {
        "keys_of_others": _radio_choice(
            gettext_lazy("Keys of another customer"),
            REJECT_ROW_LABEL,
            ("take_over", gettext_lazy("Move the key to this customer")),
        ),
        "revoked_keys": _radio_choice(
            gettext_lazy("Keys of revoked credentials"),
            REJECT_ROW_LABEL,
            ("use_again", gettext_lazy("Use the key again, from now on")),
            required=False,
        ),
    },
}


# Columns whose rejected rows a choice concerns. A new credential without a key has its problem at
# the key, and people are named by two columns.
COLUMNS_BY_CHOICE: Mapping[str, Collection[str]] = {
    choice: [column for column, fields in CHOICE_FIELDS_BY_COLUMN.items() if choice in fields]
    for fields in CHOICE_FIELDS_BY_COLUMN.values()
    for choice in fields
} | {
    "missing_keys": ["key"],
    "duplicates": ["key", "name", "email", "external_key", "aliases"],
    "people_of_others": ["holders", "customer"],
}
CHOICE_BY_WARNING = {"joined_plans": "plan_separator"}
UNDECIDED_VALUES = ("reject", "none", "", None)
STATE_WORD_PREFIX = "state_word_"  # of form fields for words for states


class ChoicesForm(forms.Form):
    """Choices on rows that name unknown things, or things of other customers.

    It has fields only for columns that the list has, and for words for states that are not known.
    """

    def __init__(self, data: Any = None, *, upload: Upload) -> None:
        super().__init__(data, initial=upload.choices)
        self._rejected_columns = {column for column, *_ in upload.preview.get("reasons", ())}
        warned = {warning["code"] for warning in upload.preview.get("warnings", ())}
        self._warned = {CHOICE_BY_WARNING[code] for code in warned & CHOICE_BY_WARNING.keys()}
        names = {*upload.mapping.values(), *upload.fixed_values}
        # Also of a list without any key: that is when the question matters.
        if upload.kind == ListKind.CREDENTIALS:
            self.fields["missing_keys"] = deepcopy(MISSING_KEYS_FIELD)
        self.fields["duplicates"] = deepcopy(DUPLICATES_FIELD)
        for name, fields in CHOICE_FIELDS_BY_COLUMN.items():
            if name in names and _has_choice(ListKind(upload.kind), name):
                # Forms share no fields: a form changes its own.
                self.fields.update(deepcopy(fields))
        if upload.kind == ListKind.SUBSCRIBERS and "customer" in names:
            self.fields["people_of_others"] = deepcopy(PEOPLE_OF_OTHERS_FIELD)
        self._words = self._add_state_words(upload) if STATE_FIELDS.keys() & self.fields else {}

    def _add_state_words(self, upload: Upload) -> dict[str, str]:
        """Add a field for each word for a state; return the words by names of their fields."""
        # Previews of earlier versions have no unknown words.
        rows = dict(upload.preview.get("unknown_states", ()))
        chosen = dict(split_state_words(upload.choices.get("states", "")))
        words = {}
        for number, word in enumerate(dict.fromkeys([*rows, *chosen])):
            name = f"{STATE_WORD_PREFIX}{number}"
            count = ""
            if word in rows:
                count = number_of(rows[word], " (%(count)s row)", " (%(count)s rows)")
            self.fields[name] = forms.ChoiceField(
                label=gettext("State “%(word)s”%(count)s") % {"word": word, "count": count},
                choices=[
                    ("", REJECT_ROW_LABEL),
                    *((state, within_sentence(state.capitalize())) for state in CredentialState),
                ],
                required=False,
                initial=chosen.get(word, ""),
            )
            words[name] = word
        return words

    @property
    def asked(self) -> list[forms.BoundField]:
        """Fields on which rows of this list depend: those of rejected rows, and those chosen."""
        return [field for field in self if self._is_asked(field)]

    @property
    def others(self) -> list[forms.BoundField]:
        return [field for field in self if not self._is_asked(field)]

    def _is_asked(self, field: forms.BoundField) -> bool:
        if field.errors or field.name in {*self._words, *self._warned, *MOMENT_FIELDS}:
            return True
        if field.value() not in UNDECIDED_VALUES and field.name != "plan_keys":
            return True
        return not self._rejected_columns.isdisjoint(COLUMNS_BY_CHOICE.get(field.name, ()))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        # A plan is the product of its subscriptions.
        needs_product = "product" in self.fields and "plan_keys" not in self.fields
        if (
            needs_product
            and cleaned.get("subscriptions") == "create"
            and not cleaned.get("product")
        ):
            self.add_error("product", gettext("Choose the product of new subscriptions."))
        try:
            self.choices()
        except InvalidChoice as error:
            self.add_error(error.name, error.message)
        return cleaned

    def choices(self) -> UploadChoices:
        """Return the choices; those without a field keep their default, which rejects rows."""
        data = self.cleaned_data
        product = data.get("product")
        chosen = {name: value for name, value in data.items() if value and name not in self._words}
        states = [f"{word} = {data[name]}" for name, word in self._words.items() if data.get(name)]
        return UploadChoices(
            **chosen
            | {"product": product.external_key if product else "", "states": ", ".join(states)}
        )


def _has_choice(kind: ListKind, name: str) -> bool:
    # In lists of other kinds, columns of these names are what the row itself is about.
    return name == "customer" or name in MOMENT_COLUMNS or kind is ListKind.CREDENTIALS
