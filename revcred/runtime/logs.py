"""What is logged, without what an address or a message should not have said."""

import logging
import re

from revcred.redaction import ELLIPSIS, cut_text

# An id is the sender's to choose, and some choose a key.
RECEIPT = re.compile(r"(/v1/transactions/)\S.*", re.DOTALL)


class WithoutKeys(logging.Filter):
    """Cuts keys, secrets and tokens out of messages, and ids out of the addresses of receipts."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        shown = cut_text(RECEIPT.sub(rf"\1{ELLIPSIS}", said))
        if shown != said:
            record.msg, record.args = shown, ()
        return True
