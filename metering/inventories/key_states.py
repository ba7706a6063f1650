"""The state of a key at a gateway, as inventories, snapshots and checks before a call see it.

`metering.verification.checking` states the same rule for one call; `test_key_states.py` holds the
three together. Whether a credential has a subscription, and for which sources, is no state of its
keys: a check refuses such a call, and a key stays active.
"""

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
    -- in: suspensions and customers; out: the credentials that are suspended now.
    SELECT credential_id FROM revcred_suspension
    WHERE active_from <= %(now)s AND (active_until IS NULL OR active_until > %(now)s)
    UNION
    SELECT c.id FROM revcred_customer u JOIN revcred_credential c ON c.customer_id = u.id
    WHERE u.suspended_at <= %(now)s
)"""

# The state of a row `k` with a period, of the credential `c`, joined to `suspended`. What ends a
# key for good is said first.
STATE_OF_KEY = """CASE
    WHEN c.revoked_at <= %(now)s THEN 'revoked'
    WHEN k.active_from > %(now)s THEN 'later'
    WHEN k.active_until <= %(now)s THEN 'ended'
    WHEN c.expires_at <= %(now)s THEN 'expired'
    WHEN suspended.credential_id IS NOT NULL THEN 'suspended'
    ELSE 'active'
END"""

# Rows `k` with the same fingerprint, in the order in which a gateway prefers them: a key in force
# that counts only there, one in force at any gateway, the one that began last, the one that begins
# first.
PREFERENCE_OF_KEY = """ARRAY[
    CASE
        WHEN k.active_from > %(now)s THEN 3
        WHEN k.active_until <= %(now)s THEN 2
        WHEN k.gateway_id IS NULL THEN 1
        ELSE 0
    END,
    CASE WHEN k.active_from > %(now)s THEN 1 ELSE -1 END
        * (extract(epoch FROM k.active_from) * 1000000)::bigint
]"""
