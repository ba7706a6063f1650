"""Log filter against keys and secrets."""

import logging
import re

from revcred.redaction import ELLIPSIS, redact_text

# The sender chooses the id of a transaction, and some choose a key.
RECEIPT_PATH_PATTERN = re.compile(r"(/v1/transactions/)\S.*", re.DOTALL)


class RedactingFilter(logging.Filter):
    """Cuts keys, secrets and tokens out of messages, and ids out of receipt URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = redact_text(RECEIPT_PATH_PATTERN.sub(rf"\1{ELLIPSIS}", message))
        if shown != message:
            record.msg, record.args = shown, ()
        return True
