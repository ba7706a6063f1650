"""What uploads of one kind may add of another, and how that is undone."""


from revcred.uploads.kinds.merge import UNDONE, Undo


def _none_but_own(source: str, its_type: str, number: str, condition: str) -> str:
    """A query for changes beside which there is something that is not the upload's as well."""
    return f"""
        SELECT c.id FROM {{changes}} c
        WHERE EXISTS (
            SELECT FROM {source} WHERE {condition} AND NOT ({{own}} AND EXISTS (
                SELECT FROM revcred_uploadchange o
                WHERE o.upload_id = c.upload_id AND o.target_type = '{its_type}'
                    AND o.target_id = {number}
            ))
        ) AND c.target_type =
    """


def _depending(target: str, *sources: tuple[str, str, str, str, str]) -> dict[str, str]:
    return {
        reason: f"{_none_but_own(source, its_type, number, condition)} '{target}' "
        "AND c.action = 'create'"
        for reason, source, its_type, number, condition in sources
    }


def _deleted(table: str, target: str) -> str:
    return f"""
        DELETE FROM {table} WHERE id IN (
            SELECT target_id FROM {UNDONE} WHERE target_type = '{target}' AND action = 'create'
        )
    """


MEMBERSHIPS = Undo(
    target="revcred.membership",
    depends=_depending(
        "revcred.membership",
        (
            "Somebody holds another credential of that customer",
            "revcred_membership m JOIN revcred_credential_holders h USING (subscriber_id) "
            "JOIN revcred_credential k ON k.id = h.credential_id AND k.customer_id = m.customer_id",
            "revcred.credential",
            "k.id",
            "m.id = c.target_id",
        ),
    ),
    statements=(_deleted("revcred_membership", "revcred.membership"),),
)
SUBSCRIPTIONS = Undo(
    target="revcred.subscription",
    depends=_depending(
        "revcred.subscription",
        (
            "Other credentials feed that subscription",
            "revcred_assignment a",
            "revcred.credential",
            "a.credential_id",
            "a.subscription_id = c.target_id",
        ),
    ),
    uses="""
        SELECT id AS number, NULL::bigint AS credential_id, ARRAY[target_id] AS subscription_ids,
            NULL::timestamptz AS since
        FROM {changes} c WHERE target_type = 'revcred.subscription' AND action = 'create'
    """,
    statements=(_deleted("revcred_subscription", "revcred.subscription"),),
)
SUBSCRIBERS = Undo(
    target="revcred.subscriber",
    depends=_depending(
        "revcred.subscriber",
        (
            "The subscriber can sign in",
            "revcred_subscriber s",
            "revcred.user",
            "s.user_id",
            "s.id = c.target_id AND s.user_id IS NOT NULL",
        ),
        (
            "The subscriber belongs to another customer",
            "revcred_membership m",
            "revcred.membership",
            "m.id",
            "m.subscriber_id = c.target_id",
        ),
        (
            "The subscriber holds other credentials",
            "revcred_credential_holders h",
            "revcred.credential",
            "h.credential_id",
            "h.subscriber_id = c.target_id",
        ),
    ),
    statements=(_deleted("revcred_subscriber", "revcred.subscriber"),),
)
CUSTOMERS = Undo(
    target="revcred.customer",
    depends=_depending(
        "revcred.customer",
        (
            "The customer has other credentials",
            "revcred_credential k",
            "revcred.credential",
            "k.id",
            "k.customer_id = c.target_id",
        ),
        (
            "The customer has other subscriptions",
            "revcred_subscription s",
            "revcred.subscription",
            "s.id",
            "s.customer_id = c.target_id",
        ),
        (
            "The customer has other members",
            "revcred_membership m",
            "revcred.membership",
            "m.id",
            "m.customer_id = c.target_id",
        ),
    ),
    statements=(_deleted("revcred_customer", "revcred.customer"),),
)
