from django.db import migrations

# A foreign key over two columns, which Django's models cannot say.
SAME_CUSTOMER = """
ALTER TABLE revcred_assignment
    ADD CONSTRAINT assignment_credential_of_same_customer
        FOREIGN KEY (credential_id, customer_id) REFERENCES revcred_credential (id, customer_id)
        DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT assignment_subscription_of_same_customer
        FOREIGN KEY (subscription_id, customer_id) REFERENCES revcred_subscription (id, customer_id)
        DEFERRABLE INITIALLY DEFERRED
"""
ANY_CUSTOMER = """
ALTER TABLE revcred_assignment
    DROP CONSTRAINT assignment_credential_of_same_customer,
    DROP CONSTRAINT assignment_subscription_of_same_customer
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER auditevent_append_only BEFORE UPDATE OR DELETE ON revcred_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
CHANGEABLE = """
DROP TRIGGER auditevent_append_only ON revcred_auditevent;
DROP FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0001_initial")]

    operations = [
        migrations.RunSQL(SAME_CUSTOMER, ANY_CUSTOMER),
        migrations.RunSQL(APPEND_ONLY, CHANGEABLE),
    ]
