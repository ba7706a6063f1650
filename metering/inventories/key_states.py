"""The states in which a key is known, for inventories and snapshots."""

# By state, its words. Only a key that is active is valid now.
KEY_STATES = {
    "active": "valid",
    "suspended": "suspended",
    "later": "not valid yet",
    "revoked": "revoked",
    "expired": "expired",
    "ended": "key ended",
}

# The first common table expression of statements that judge keys at the moment `now`.
WITH_SUSPENDED = """
WITH suspended AS (
    -- in: the suspensions; out: the credentials that are suspended now.
    SELECT DISTINCT credential_id FROM revcred_suspension
    WHERE active_from <= %(now)s AND (active_until IS NULL OR active_until > %(now)s)
)"""
