"""opentelemetry-exporter-otlp-proto-http: records, plain and compressed, alone and in batches."""

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from telling import ADDRESS, KEY, SUBSCRIPTION, TOKEN, call, new_id

USAGE = {"input_tokens": 12, "output_tokens": "7", "cost_usd": 0.25, "duration_ms": 15}
SEEN = {
    "elements": {"calls": 1, "input_tokens": 12, "output_tokens": 7, "cost_usd": 0.25},
    "latency_ms": 15,
}


def exporter(**said: object) -> OTLPLogExporter:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return OTLPLogExporter(f"{ADDRESS}/meter/v2/otlp/v1/logs", headers=headers, **said)


def emit(processor: object, sessions: list[str], **attributes: str) -> None:
    provider = LoggerProvider(Resource({"service.name": "conformance", **attributes}))
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("conformance")
    for session in sessions:
        logger.emit(LogRecord(body="api_request", attributes={"session.id": session, **USAGE}))
    assert provider.force_flush()
    provider.shutdown()


def mark(session: str) -> dict[str, object]:
    return {"metadata": {"session.id": session}}


session = new_id()
with call("SimpleLogRecordProcessor", mark(session), **SEEN):
    emit(SimpleLogRecordProcessor(exporter()), [session], **{"subscriber.credential": KEY})

sessions = [new_id(), new_id()]
with call("BatchLogRecordProcessor, gzip, first", mark(sessions[0]), **SEEN):
    emit(
        BatchLogRecordProcessor(exporter(compression=Compression.Gzip)),
        sessions,
        **{"subscriber.credential": KEY},
    )
with call("BatchLogRecordProcessor, gzip, second", mark(sessions[1]), **SEEN):
    pass

session = new_id()
with call("what is no call is passed over", mark(session), **SEEN):
    provider = LoggerProvider(Resource({"subscriber.credential": KEY}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter()))
    logger = provider.get_logger("conformance")
    prompt = {"event.name": "user_prompt", "prompt": "Good morning", "prompt_length": 12}
    for attributes in (prompt, {"session.id": session, **USAGE}, {"event.name": "tool_result"}):
        logger.emit(LogRecord(body="Good morning", attributes=attributes))
    provider.shutdown()

session = new_id()
with call("the token as an attribute", mark(session), **SEEN):
    silent = OTLPLogExporter(f"{ADDRESS}/meter/v2/otlp/v1/logs")
    emit(
        SimpleLogRecordProcessor(silent),
        [session],
        **{"subscriber.credential": KEY, "revenium.api_key": TOKEN},
    )

session = new_id()
with call("a subscription named", mark(session), matched_by="subscription", **SEEN):
    emit(SimpleLogRecordProcessor(exporter()), [session], **{"subscription.id": SUBSCRIPTION})
