-- The owner that the names in a call lead to. The rule for one call is `rules_by_name.owner_by_name`.
-- Version 2, created by migration metering/0051. To change it: edit this file, and add a migration
-- that drops the functions and creates them with a copy of this text. A test compares what the
-- database has with what stands here.
--
-- `at` is the moment that a call gives, `last_at` the last one it may stand for. A current name wins
-- over a former one, of former ones the latest; of a customer's credentials of one name the one that
-- had it then. `alone`: neither a key nor the name of a subscription, so that the names decide.

CREATE FUNCTION former_holders(at timestamptz, a text, of_a text, b text, of_b text)
RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(target_id), '{}') FROM (
        SELECT f.target_id FROM revcred_formername f
        WHERE (f.kind = a AND f.name = of_a OR f.kind = b AND f.name = of_b)
            AND (f.counts_until IS NULL OR at < f.counts_until)
        ORDER BY f.former_since DESC LIMIT 1
    ) latest
$$;

CREATE FUNCTION owner_by_name(
    names jsonb, at timestamptz, last_at timestamptz, alone boolean, source_named text,
    source bigint
) RETURNS named_owner LANGUAGE plpgsql STABLE AS $$
DECLARE
    owner named_owner;
    customers bigint[];
    products bigint[];
    credentials bigint[];
    of_credentials bigint[];
    subscribers bigint[];
    of_subscriber bigint[];
    homes bigint[];
    candidates bigint;
BEGIN
    owner.decides := alone;
    owner.is_strict := coalesce((names -> 'strict')::boolean, false);
    IF NOT alone AND NOT owner.is_strict THEN
        RETURN owner;
    END IF;
    customers := array(
        SELECT c.id FROM revcred_customer c WHERE lower(c.name) = lower(names ->> 'customer')
        UNION
        SELECT c.id FROM revcred_customer c WHERE c.external_key = names ->> 'customer'
    );
    IF names ? 'customer' AND customers = '{}' THEN
        customers := former_holders(
            at, 'customer', names ->> 'customer',
            'customer_name', lower(names ->> 'customer')
        );
    END IF;
    products := array(
        SELECT p.id FROM revcred_product p
        WHERE lower(p.name) = lower(names ->> 'product') OR p.external_key = names ->> 'product'
    );
    IF names ? 'product' AND products = '{}' THEN
        products := former_holders(
            at, 'product', names ->> 'product', 'product_name', lower(names ->> 'product')
        );
    END IF;
    credentials := array(
        SELECT c.id FROM revcred_credential c
        WHERE lower(c.name) = lower(names ->> 'credential')
            AND (NOT names ? 'customer' OR c.customer_id = ANY (customers))
            AND NOT EXISTS (
                -- One that had the name then, or got it after this one was revoked.
                SELECT FROM revcred_credential o
                WHERE o.customer_id = c.customer_id AND o.name = c.name AND o.id <> c.id
                    AND CASE
                        WHEN c.revoked_at <= last_at
                        THEN coalesce(o.revoked_at > c.revoked_at, true)
                        ELSE o.revoked_at > last_at AND coalesce(o.revoked_at < c.revoked_at, true)
                    END
            )
    );
    IF names ? 'credential' AND credentials = '{}' THEN
        credentials := array(
            SELECT f.target_id FROM revcred_formername f
            JOIN revcred_credential c ON c.id = f.target_id
            WHERE f.kind = 'credential_name' AND f.name = lower(names ->> 'credential')
                AND (f.counts_until IS NULL OR at < f.counts_until)
                AND (NOT names ? 'customer' OR c.customer_id = ANY (customers))
            ORDER BY f.former_since DESC LIMIT 1
        );
    END IF;
    of_credentials := array(
        SELECT c.customer_id FROM revcred_credential c WHERE c.id = ANY (credentials)
    );
    subscribers := array(
        SELECT s.id FROM revcred_subscriber s WHERE lower(s.email) = lower(names ->> 'subscriber')
        UNION
        SELECT s.id FROM revcred_subscriber s WHERE s.external_key = names ->> 'subscriber'
    );
    IF names ? 'subscriber' AND subscribers = '{}' THEN
        subscribers := former_holders(
            at, 'subscriber', names ->> 'subscriber',
            'subscriber_email', lower(names ->> 'subscriber')
        );
    END IF;
    of_subscriber := array(
        SELECT DISTINCT m.customer_id FROM revcred_membership m
        WHERE m.subscriber_id = ANY (subscribers)
    );
    owner.reason := CASE
        WHEN names ? 'customer' AND customers = '{}' THEN 'unknown_customer'
        WHEN names ? 'product' AND products = '{}' THEN 'unknown_product'
        WHEN names ? 'subscriber' AND of_subscriber = '{}' THEN 'unknown_subscriber'
        WHEN names ? 'credential' AND credentials = '{}' THEN 'unknown_credential'
        WHEN alone AND NOT names ?| array['customer', 'subscriber', 'credential'] THEN 'anonymous'
    END;
    IF owner.reason IS NOT NULL THEN
        owner.decides := true;
        RETURN owner;
    END IF;
    IF NOT alone THEN
        owner.customer_id := CASE WHEN cardinality(customers) = 1 THEN customers[1] END;
        owner.product_id := CASE WHEN cardinality(products) = 1 THEN products[1] END;
        owner.credential_id := CASE WHEN cardinality(credentials) = 1 THEN credentials[1] END;
        RETURN owner;
    END IF;
    homes := array(
        SELECT c.id FROM revcred_customer c
        WHERE c.id = ANY (customers || of_subscriber || of_credentials)
            AND (NOT names ? 'customer' OR c.id = ANY (customers))
            AND (NOT names ? 'subscriber' OR c.id = ANY (of_subscriber))
            AND (NOT names ? 'credential' OR c.id = ANY (of_credentials))
    );
    SELECT
        count(*), min(found.credential_id), min(found.assignment_id), min(found.subscription_id),
        min(found.customer_id), min(found.product_id)
    INTO
        candidates, owner.credential_id, owner.assignment_id, owner.subscription_id,
        owner.customer_id, owner.product_id
    FROM (
        SELECT held.*, bool_or(outlasts) OVER () AS some_outlast
        FROM (
            SELECT
                a.credential_id, a.id AS assignment_id, s.id AS subscription_id, s.customer_id,
                s.product_id,
                (s.active_until IS NULL OR last_at < s.active_until)
                AND (a.active_until IS NULL OR last_at < a.active_until) AS outlasts
            FROM revcred_subscription s
            JOIN revcred_product p ON p.id = s.product_id
            LEFT JOIN revcred_assignment a
                ON a.subscription_id = s.id AND a.credential_id = ANY (credentials)
                AND a.active_from <= last_at AND (a.active_until IS NULL OR at < a.active_until)
            WHERE s.customer_id = ANY (homes)
                AND s.active_from <= last_at AND (s.active_until IS NULL OR at < s.active_until)
                AND (NOT names ? 'product' OR s.product_id = ANY (products))
                AND (NOT names ? 'credential' OR a.id IS NOT NULL)
                AND (
                    NOT p.restricted
                    OR CASE
                        WHEN source IS NOT NULL THEN EXISTS (
                            SELECT FROM revcred_product_sources x
                            WHERE x.product_id = p.id AND x.source_id = source
                        )
                        ELSE p.also_without_source AND source_named IS NULL
                    END
                )
        ) held
    ) found
    WHERE found.outlasts OR NOT found.some_outlast;
    owner.reason := CASE
        WHEN candidates = 0 THEN 'no_subscription'
        WHEN candidates > 1 THEN 'ambiguous'
        WHEN EXISTS (
            SELECT FROM revcred_credential c
            WHERE c.id = owner.credential_id
                AND (c.revoked_at <= at OR c.expires_at <= at OR EXISTS (
                    SELECT FROM revcred_suspension p
                    WHERE p.credential_id = c.id
                        AND p.active_from <= at
                        AND (p.active_until IS NULL OR last_at < p.active_until)
                ))
        ) THEN 'key_not_valid'
    END;
    RETURN owner;
END
$$;
