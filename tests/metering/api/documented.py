"""Every door that gateways post to, and what it is documented to answer."""

from drf_spectacular.generators import SchemaGenerator


def schema():
    said = SchemaGenerator().get_schema(request=None, public=True)
    said["paths"] = {
        address: operations
        for address, operations in said["paths"].items()
        if not address.startswith("/v1/uploads")  # which are for people's scripts
    }
    return said


def documented():
    """By address: the statuses."""
    return {
        address: {int(status) for status in operations["post"]["responses"]}
        for address, operations in schema()["paths"].items()
        if "post" in operations
    }
