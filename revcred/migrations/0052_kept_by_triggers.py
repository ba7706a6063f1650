from django.db import migrations

# Fields that calls may name somebody or something by: table, column, kind, in any case or not.
NAMES = (
    ("revcred_subscription", "external_key", "subscription", False),
    ("revcred_source", "external_key", "source", False),
    ("revcred_customer", "external_key", "customer", False),
    ("revcred_customer", "name", "customer_name", True),
    ("revcred_product", "external_key", "product", False),
    ("revcred_product", "name", "product_name", True),
    ("revcred_subscriber", "external_key", "subscriber", False),
    ("revcred_subscriber", "email", "subscriber_email", True),
    ("revcred_credential", "name", "credential_name", True),
)

# The arguments of each trigger: kind, column, and "lower" where calls may write it in any case.
FUNCTIONS = """
-- The text of a column as calls are compared with it.
CREATE FUNCTION name_in(item jsonb, field text, folding text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN folding = 'lower' THEN lower(item ->> field) ELSE item ->> field END
$$;

-- A name has another owner: for whoever had it before, it counts until then. A subscription takes
-- a name when it begins, and none if it is over by now; a credential takes one of its customer.
CREATE FUNCTION take_name(which text, taken text, item jsonb) RETURNS void
LANGUAGE sql AS $$
    UPDATE revcred_formername f
    SET counts_until = taking.at, taken_by_id = (item ->> 'id')::bigint
    FROM (SELECT greatest(now(), (item ->> 'active_from')::timestamptz) AS at) taking
    WHERE f.kind = which AND f.name = taken AND f.target_id <> (item ->> 'id')::bigint
        AND (f.counts_until IS NULL OR f.counts_until > taking.at)
        AND coalesce((item ->> 'active_until')::timestamptz > now(), true)
        AND (which <> 'credential_name' OR EXISTS (
            SELECT FROM revcred_credential c
            WHERE c.id = f.target_id AND c.customer_id = (item ->> 'customer_id')::bigint
        ))
$$;

CREATE FUNCTION keep_former_name() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := name_in(to_jsonb(OLD), TG_ARGV[1], TG_ARGV[2]);
    after text := name_in(to_jsonb(NEW), TG_ARGV[1], TG_ARGV[2]);
    next_holder bigint;
    next_begins timestamptz;
BEGIN
    IF before = after THEN
        RETURN NULL;
    END IF;
    IF before <> '' THEN
        IF TG_ARGV[0] = 'subscription' THEN
            -- One that has the same name in a later period has taken it by then.
            SELECT s.id, s.active_from INTO next_holder, next_begins
            FROM revcred_subscription s
            WHERE s.external_key = before AND s.id <> OLD.id
                AND s.active_from > (to_jsonb(OLD) ->> 'active_from')::timestamptz
            ORDER BY s.active_from LIMIT 1;
        END IF;
        INSERT INTO revcred_formername
            (kind, target_id, name, former_since, counts_until, taken_by_id)
        VALUES (TG_ARGV[0], OLD.id, before, clock_timestamp(), next_begins, next_holder)
        ON CONFLICT (kind, name, target_id) DO UPDATE SET
            former_since = excluded.former_since, counts_until = excluded.counts_until,
            taken_by_id = excluded.taken_by_id;
    END IF;
    IF after <> '' THEN
        DELETE FROM revcred_formername
        WHERE kind = TG_ARGV[0] AND name = after AND target_id = NEW.id;
        PERFORM take_name(TG_ARGV[0], after, to_jsonb(NEW));
    END IF;
    RETURN NULL;
END
$$;

-- Of many rows at once: most installations have no former names to compare them with.
CREATE FUNCTION take_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM revcred_formername WHERE kind = TG_ARGV[0]) THEN
        PERFORM take_name(TG_ARGV[0], f.name, to_jsonb(a))
        FROM added a
        JOIN (SELECT DISTINCT name FROM revcred_formername WHERE kind = TG_ARGV[0]) f
            ON f.name = name_in(to_jsonb(a), TG_ARGV[1], TG_ARGV[2]);
    END IF;
    RETURN NULL;
END
$$;

-- What is deleted has no names, and has taken none.
CREATE FUNCTION forget_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM revcred_formername
    WHERE kind = TG_ARGV[0] AND target_id IN (SELECT id FROM gone);
    UPDATE revcred_formername SET counts_until = NULL, taken_by_id = NULL
    WHERE kind = TG_ARGV[0] AND taken_by_id IN (SELECT id FROM gone);
    RETURN NULL;
END
$$;
"""
NO_FUNCTIONS = """
DROP FUNCTION forget_names();
DROP FUNCTION take_names();
DROP FUNCTION keep_former_name();
DROP FUNCTION take_name(text, text, jsonb);
DROP FUNCTION name_in(jsonb, text, text);
"""


def triggers(table, column, kind, folded):
    arguments = f"'{kind}', '{column}', '{'lower' if folded else ''}'"
    return f"""
CREATE TRIGGER {kind}_renamed AFTER UPDATE OF {column} ON {table} FOR EACH ROW
    WHEN (OLD.{column} IS DISTINCT FROM NEW.{column})
    EXECUTE FUNCTION keep_former_name({arguments});
CREATE TRIGGER {kind}_taken AFTER INSERT ON {table} REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION take_names({arguments});
CREATE TRIGGER {kind}_forgotten AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_names({arguments});
"""


def no_triggers(table, kind):
    return "".join(
        f"DROP TRIGGER {kind}_{done} ON {table};" for done in ("renamed", "taken", "forgotten")
    )


RESTRICTED = """
UPDATE revcred_product p SET restricted = true
WHERE EXISTS (SELECT FROM revcred_product_sources x WHERE x.product_id = p.id);

CREATE FUNCTION restrict_product() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE revcred_product SET restricted = true WHERE id = NEW.product_id AND NOT restricted;
    RETURN NULL;
END
$$;
CREATE TRIGGER product_restricted_by_source AFTER INSERT OR UPDATE ON revcred_product_sources
    FOR EACH ROW EXECUTE FUNCTION restrict_product();

-- Saved with what was read before it had a source.
CREATE FUNCTION stay_restricted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.restricted := EXISTS (
        SELECT FROM revcred_product_sources x WHERE x.product_id = NEW.id
    );
    RETURN NEW;
END
$$;
CREATE TRIGGER product_stays_restricted BEFORE UPDATE OF restricted ON revcred_product
    FOR EACH ROW WHEN (OLD.restricted AND NOT NEW.restricted) EXECUTE FUNCTION stay_restricted();
"""
NOT_RESTRICTED = """
DROP TRIGGER product_stays_restricted ON revcred_product;
DROP FUNCTION stay_restricted();
DROP TRIGGER product_restricted_by_source ON revcred_product_sources;
DROP FUNCTION restrict_product();
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0051_names_and_sources")]

    operations = [
        migrations.RunSQL(FUNCTIONS, NO_FUNCTIONS),
        *(migrations.RunSQL(triggers(*each), no_triggers(each[0], each[2])) for each in NAMES),
        migrations.RunSQL(RESTRICTED, NOT_RESTRICTED),
    ]
