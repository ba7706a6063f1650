"""Published clients, each in an environment of its own, against a freshly started revcred."""
