"""PostgreSQL advisory locks of metering: each number stands for one thing at a time."""

ATTRIBUTION_LOCK = 0x5E771E  # advisory: settlements share it, a claim waits for those under way


CORRECTION_LOCK = 0xC0881  # advisory: what is corrected is corrected by one at a time


PAIRING_LOCK = (
    0x10171  # advisory: one process joins at a time, so that no two halves miss each other
)


PROVISIONING_LOCK = 0xA0B0  # advisory: one makes what others would make at the same time
