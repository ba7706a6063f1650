from django.db import migrations

# Whatever writes them: a staff login and a subscriber's login are never the same. The first waits
# for whoever is about to change the rights of that login, and then sees them.
APART = """
CREATE FUNCTION refuse_staff_as_subscriber() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    has_rights boolean;
BEGIN
    SELECT is_staff OR is_superuser INTO has_rights
    FROM revcred_user WHERE id = NEW.user_id FOR SHARE;
    IF has_rights THEN
        RAISE EXCEPTION 'a login of staff belongs to no subscriber'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'subscriber_is_not_staff';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION refuse_subscriber_as_staff() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.is_staff OR NEW.is_superuser) AND NOT (OLD.is_staff OR OLD.is_superuser)
        AND EXISTS (SELECT FROM revcred_subscriber WHERE user_id = NEW.id)
    THEN
        RAISE EXCEPTION 'the login of a subscriber is not made staff'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'subscriber_is_not_staff';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER subscriber_is_not_staff AFTER INSERT OR UPDATE OF user_id ON revcred_subscriber
    FOR EACH ROW WHEN (NEW.user_id IS NOT NULL) EXECUTE FUNCTION refuse_staff_as_subscriber();
CREATE TRIGGER staff_is_not_subscriber AFTER UPDATE OF is_staff, is_superuser ON revcred_user
    FOR EACH ROW EXECUTE FUNCTION refuse_subscriber_as_staff();
"""
TOGETHER = """
DROP TRIGGER staff_is_not_subscriber ON revcred_user;
DROP TRIGGER subscriber_is_not_staff ON revcred_subscriber;
DROP FUNCTION refuse_subscriber_as_staff();
DROP FUNCTION refuse_staff_as_subscriber();
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0012_logins")]

    operations = [migrations.RunSQL(APART, TOGETHER)]
