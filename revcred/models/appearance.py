"""How the storefront looks at this installation: name, logo, colours, texts and links."""

import re
from hashlib import sha256

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from revcred.colour_contrast import (
    DARK_SURFACES,
    LIGHT_SURFACES,
    MIN_CONTRAST,
    WHITE,
    contrast,
    lowest_contrast,
)
from revcred.markdown import render_markdown
from revcred.texts import gettext_lazy

COLOUR_PATTERN = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
MAX_LINKS = 6
MAX_LINK_LABEL_CHARACTERS = 40
DIGEST_CHARACTERS = 16


def check_colour(colour: str) -> None:
    """Raise ValidationError unless the colour is one such as `#0f766e`."""
    if not COLOUR_PATTERN.fullmatch(colour):
        message = gettext("Write the colour as # and six digits, such as #0f766e.")
        raise ValidationError(message)


def check_light_accent(colour: str) -> None:
    """Raise ValidationError if text or buttons of this colour are hard to read."""
    check_colour(colour)
    as_text, as_button = lowest_contrast(colour, LIGHT_SURFACES), contrast(colour, WHITE)
    if min(as_text, as_button) < MIN_CONTRAST:
        message = gettext(
            "Too light to read in the light theme: text of this colour has a contrast of"
            " %(as_text)s:1 with the background, and white text on a button of it has"
            " %(as_button)s:1. Both need %(least)s:1. Choose a darker colour."
        ) % {
            "as_text": f"{as_text:.1f}",
            "as_button": f"{as_button:.1f}",
            "least": MIN_CONTRAST,
        }
        raise ValidationError(message)


def check_dark_accent(colour: str) -> None:
    """Raise ValidationError if text of this colour is hard to read on dark surfaces."""
    check_colour(colour)
    as_text = lowest_contrast(colour, DARK_SURFACES)
    if as_text < MIN_CONTRAST:
        message = gettext(
            "Too dark to read in the dark theme: text of this colour has a contrast of"
            " %(as_text)s:1 with the background. It needs %(least)s:1. Choose a"
            " lighter colour."
        ) % {"as_text": f"{as_text:.1f}", "least": MIN_CONTRAST}
        raise ValidationError(message)


def parse_links(text: str) -> list[tuple[str, str]]:
    """Return label and address of each line. Raises ValidationError."""
    links = []
    for line in filter(None, map(str.strip, text.splitlines())):
        label, _, address = line.rpartition(" ")
        if not label or len(label) > MAX_LINK_LABEL_CHARACTERS:
            message = gettext(
                "Write each line as a label of at most %(most)s"
                " characters, a space and an address: “%(line)s” is none."
            ) % {"most": MAX_LINK_LABEL_CHARACTERS, "line": line[:80]}
            raise ValidationError(message)
        if not address.startswith("mailto:"):
            URLValidator(schemes=["https", "http"])(address)
        links.append((label.strip(), address))
    if len(links) > MAX_LINKS:
        message = gettext("There is room for %(most)s links.") % {"most": MAX_LINKS}
        raise ValidationError(message)
    return links


def check_links(text: str) -> None:
    """Raise ValidationError unless each line is a label and an address."""
    parse_links(text)


class Appearance(models.Model):
    """What an operator has set for the pages of subscribers. There is one row at most."""

    name = models.CharField(
        gettext_lazy("name of the installation"),
        max_length=60,
        blank=True,
        default="",
        help_text=gettext_lazy(
            "Stands in place of “revcred” on pages of subscribers and in their titles."
        ),
    )
    logo = models.BinaryField(default=b"", blank=True)
    logo_type = models.CharField(max_length=20, default="", blank=True, editable=False)
    accent = models.CharField(
        gettext_lazy("colour in the light theme"),
        max_length=7,
        blank=True,
        default="",
        validators=[check_light_accent],
        help_text=gettext_lazy(
            "Of links, and of buttons in both themes. Such as #0f766e. Empty: revcred's."
        ),
    )
    accent_dark = models.CharField(
        gettext_lazy("colour in the dark theme"),
        max_length=7,
        blank=True,
        default="",
        validators=[check_dark_accent],
        help_text=gettext_lazy("Of links on dark surfaces. Such as #5cc8bc. Empty: revcred's."),
    )
    welcome_title = models.CharField(
        gettext_lazy("heading of the page to sign in"),
        max_length=120,
        blank=True,
        default="",
        help_text=gettext_lazy("Empty: “Your API credentials and their usage”."),
    )
    welcome_text = models.TextField(
        gettext_lazy("text of the page to sign in"),
        max_length=4_000,
        blank=True,
        default="",
        help_text=gettext_lazy("Markdown. Stands beside the form, for everybody to read."),
    )
    support_text = models.CharField(
        gettext_lazy("whom to ask"),
        max_length=200,
        blank=True,
        default="",
        help_text=gettext_lazy(
            "A sentence below every page, such as “Questions? Write to api@example.com.”"
        ),
    )
    links = models.TextField(
        max_length=4_000,
        blank=True,
        default="",
        validators=[check_links],
        help_text=gettext_lazy(
            "Stand below every page. One a line: a label, a space, and an address, such as"
            " “Documentation https://docs.example.com”."
        ),
    )

    language = models.CharField(
        max_length=10,
        choices=settings.LANGUAGES,
        default=settings.LANGUAGE_CODE,
        db_default=settings.LANGUAGE_CODE,
        help_text=gettext_lazy(
            "Of pages and mails for subscribers who have chosen none. Pages are in the"
            " browser's language where it is one of these."
        ),
    )

    class Meta:
        verbose_name = verbose_name_plural = gettext_lazy("appearance")
        default_permissions = ("view", "change")
        constraints = (models.CheckConstraint(name="appearance_only_one", condition=Q(pk=1)),)

    def __str__(self) -> str:
        return gettext("Appearance of the storefront")

    @property
    def shown_name(self) -> str:
        return self.name or "revcred"

    @property
    def shown_links(self) -> list[tuple[str, str]]:
        return parse_links(self.links)

    @property
    def welcome_html(self) -> SafeString:
        return render_markdown(self.welcome_text)

    @property
    def digest(self) -> str:
        """Return a text that changes with logo and colours: it stands in their addresses."""
        parts = (bytes(self.logo), self.logo_type, self.accent, self.accent_dark)
        return sha256(repr(parts).encode()).hexdigest()[:DIGEST_CHARACTERS]
