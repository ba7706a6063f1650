"""What is logged, without what an address or a message should not have said."""

import logging
import re

from revcred.redaction import ELLIPSIS, redact_text

# An id is the sender's to choose, and some choose a key.
RECEIPT_PATH_PATTERN = re.compile(r"(/v1/transactions/)\S.*", re.DOTALL)


class RedactingFilter(logging.Filter):
    """Cuts keys, secrets and tokens out of messages, and ids out of the addresses of receipts."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        shown = redact_text(RECEIPT_PATH_PATTERN.sub(rf"\1{ELLIPSIS}", said))
        if shown != said:
            record.msg, record.args = shown, ()
        return True
