from django.apps import AppConfig


class TextbookConfig(AppConfig):
    name = "bench.textbook"
    label = "textbook"
