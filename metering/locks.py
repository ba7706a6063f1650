"""PostgreSQL advisory locks of metering: each number stands for one thing at a time."""

SETTLING = 0x5E771E  # advisory: settlements share it, a claim waits for those under way


CORRECTING = 0xC0881  # advisory: what is corrected is corrected by one at a time


JOINING = 0x10171  # advisory: one process joins at a time, so that no two halves miss each other


MAKING = 0xA0B0  # advisory: one makes what others would make at the same time
