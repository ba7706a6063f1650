"""The outbox: mails as rows, written in the transaction of what they tell."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext

from revcred.crypto import SealedTextField, bind_to_place, unbind_from_place
from revcred.texts import gettext_lazy


class OutgoingMailQuerySet(models.QuerySet["OutgoingMail"]):
    def waiting(self) -> "OutgoingMailQuerySet":
        """Mails that were neither sent nor given up."""
        return self.filter(next_try_at__isnull=False)


class OutgoingMail(models.Model):
    """A mail that waits in the outbox, or has left it.

    The text is sealed, since it may hold a link with a token. It is wiped once the mail was sent
    or given up; outside production only with the row.
    """

    recipient = models.EmailField(max_length=254)
    subject = models.CharField(max_length=300)
    body: "models.Field[str | None, str | None]" = SealedTextField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Also marks a mail that a worker is sending: it is due again if that worker dies.
    next_try_at = models.DateTimeField(
        null=True, editable=False, help_text=gettext_lazy("Empty once it was sent or given up.")
    )
    attempts = models.PositiveIntegerField(default=0, editable=False)
    last_error = models.CharField(max_length=100, blank=True, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)

    objects = OutgoingMailQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        verbose_name = gettext_lazy("mail")
        default_permissions = ("view",)
        indexes = (
            models.Index(
                fields=["next_try_at"],
                # Only waiting mails: the index stays small while the table keeps the sent ones.
                condition=models.Q(next_try_at__isnull=False),
                name="outgoingmail_waiting",
            ),
        )

    def __str__(self) -> str:
        return gettext("%(subject)s to %(recipient)s") % {
            "subject": self.subject,
            "recipient": self.recipient,
        }

    def seal(self, text: str) -> None:
        """Set the body. The row needs its number first, which the sealed text names."""
        self.body = bind_to_place(text, to=self._place)

    def unseal(self) -> str | None:
        """Return the text, or None once it was wiped. Raises CannotUnseal."""
        return None if self.body is None else unbind_from_place(self.body, to=self._place)

    @property
    def _place(self) -> str:
        return f"revcred.outgoingmail.body:{self.pk}"
