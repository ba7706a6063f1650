"""Every door that is posted to, and what it is documented to answer."""

from drf_spectacular.generators import SchemaGenerator


def schema():
    return SchemaGenerator().get_schema(request=None, public=True)


def documented():
    """By address: the statuses."""
    return {
        address: {int(status) for status in operations["post"]["responses"]}
        for address, operations in schema()["paths"].items()
        if "post" in operations
    }
