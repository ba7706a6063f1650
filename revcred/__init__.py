"""The project, and what it is about: customers, subscriptions and their credentials."""

from revcred.celery import app as celery_app

__all__ = ["celery_app"]
