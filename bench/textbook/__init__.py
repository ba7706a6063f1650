"""Metering as a team would write it first: the yardstick of `python -m bench`.

Serializers at the door, a table of rows, a Celery task for every transaction, which asks through
the ORM whose it is and counts it in a transaction of its own. It reads the same customers,
credentials and subscriptions, and writes to three tables of its own. Nothing in it is slow on
purpose, and nothing is left as fast as it could be made: Celery and Django are as they come.
"""
