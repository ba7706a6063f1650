"""How large a customer base of so many credentials is."""

PRODUCTS = 10
CREDENTIALS_OF_A_CUSTOMER = 100


def customers_of(credentials: int) -> int:
    """Each has one subscription, fed by all of its credentials."""
    return max(1, credentials // CREDENTIALS_OF_A_CUSTOMER)
