"""Advisory locks of PostgreSQL that metering takes, each held until its transaction ends."""

# Shared by running attributions. Re-attribution takes it exclusively, once, to wait for them.
ATTRIBUTION_LOCK = 0x5E771E

# Held while the ledger is corrected: two corrections of one row would reverse it twice.
CORRECTION_LOCK = 0xC0881

# Held by the one process that pairs: two that each saw one part would pair neither.
PAIRING_LOCK = 0x10171

# Held while named customers and credentials are created, so that each is created once.
PROVISIONING_LOCK = 0xA0B0

# Held while partitions of the quarantine are created, so that two clocks create each once.
PARTITIONS_LOCK = 0xDA7E5
