"""OTLP's protobuf whose text is not UTF-8, such as a prompt that was cut within a character.

Some senders do not check what they write, and a reader of protobuf then refuses the whole message.
On the wire text and bytes are the same: read as bytes, what is unsound can be mended.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

# Each after those it imports.
FILES = (
    *(common_pb2, resource_pb2, logs_pb2, logs_service_pb2),
    *(trace_pb2, trace_service_pb2),
)


def mended(body: bytes, message_type: type[Message]) -> bytes:
    """Return the same message with U+FFFD for what is no text. Raises DecodeError."""
    read, texts = _with_bytes_for_text(message_type.DESCRIPTOR.full_name)
    message = read.FromString(body)
    _mend(message, texts)
    return bytes(message.SerializeToString())


def _mend(message: Message, texts: frozenset[str]) -> None:
    for field, value in message.ListFields():
        if field.full_name in texts:
            if isinstance(value, bytes):
                setattr(message, field.name, _sound(value))
            else:
                value[:] = map(_sound, value)
        elif isinstance(value, Message):
            _mend(value, texts)
        elif field.message_type is not None:
            for each in value:
                _mend(each, texts)


def _sound(text: bytes) -> bytes:
    return text.decode(errors="replace").encode()


@cache
def _with_bytes_for_text(name_of_request: str) -> tuple[type[Message], frozenset[str]]:
    """The message whose texts are bytes, and the full names of what were texts."""
    pool, texts = DescriptorPool(), set[str]()
    for module in FILES:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for name, field in _fields(file.message_type, file.package):
            if field.type == FieldDescriptorProto.TYPE_STRING:
                field.type = FieldDescriptorProto.TYPE_BYTES
                texts.add(name)
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(name_of_request)), frozenset(texts)


def _fields(
    messages: Iterable[DescriptorProto], within: str
) -> Iterator[tuple[str, FieldDescriptorProto]]:
    for message in messages:
        name = f"{within}.{message.name}"
        yield from ((f"{name}.{field.name}", field) for field in message.field)
        yield from _fields(message.nested_type, name)
