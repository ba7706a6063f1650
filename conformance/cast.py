"""Who the clients' calls are about."""

CUSTOMER, CREDENTIAL, SUBSCRIPTION = "acme", "Backend", "acme-ai"
KEY = "the-key-of-the-conformance-run"
