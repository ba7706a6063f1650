"""OTLP's bodies in short: a resource's attributes, and those of its records."""

import time

PATH = "/meter/v2/otlp/v1/logs"


def value(said):
    if isinstance(said, bool):
        return {"boolValue": said}
    if isinstance(said, int):
        return {"intValue": str(said)}
    if isinstance(said, float):
        return {"doubleValue": said}
    return {"stringValue": said}


def attributes(said):
    return [{"key": name, "value": value(each)} for name, each in said.items()]


def record(said, *, body=None, at=None, **fields):
    at = time.time_ns() if at is None else at
    made = {"timeUnixNano": str(at), "attributes": attributes(said)}
    if body is not None:
        made["body"] = value(body)
    return made | fields


def logs(*records, resource=None, scope="tests"):
    return {"resourceLogs": [of_resource(*records, resource=resource, scope=scope)]}


def of_resource(*records, resource=None, scope="tests"):
    return {
        "resource": {"attributes": attributes(resource or {})},
        "scopeLogs": [{"scope": {"name": scope}, "logRecords": list(records)}],
    }
