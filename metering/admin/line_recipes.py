"""Recipes: lines for a gateway's configuration, so that it logs what its format reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from revcred.models import Gateway

NGINX_LOG = """log_format calls escape=json
    '{"id":"$request_id","ts":"$msec","key":"$http_x_api_key",'
    '"method":"$request_method","path":"$uri","status":"$status",'
    '"request_bytes":"$request_length","response_bytes":"$bytes_sent","seconds":"$request_time"}';
access_log /var/log/nginx/calls.log calls;"""
APACHE_LOG = """# a2enmod unique_id
LogFormat "{\\"id\\":\\"%{UNIQUE_ID}e\\",\\"ts\\":\\"%{usec}t\\",\\"key\\":\\"%{X-Api-Key}i\\",\
\\"method\\":\\"%m\\",\\"path\\":\\"%U\\",\
\\"status\\":\\"%>s\\",\\"response_bytes\\":\\"%B\\",\\"latency_us\\":\\"%D\\"}" calls
CustomLog /var/log/apache2/calls.log calls"""
HAPROXY_LOG = """unique-id-format %[uuid()]
http-request capture req.hdr(X-Api-Key) len 200
log-format '{"id":"%ID","ts":"%Ts.%ms","key":"%[capture.req.hdr(0),json(utf8s)]","method":"%HM",\
"path":"%[capture.req.uri,json(utf8s)]","status":"%ST","request_bytes":"%U",\
"response_bytes":"%B","latency_ms":"%Ta"}'"""
CADDY_LOG = """log {
    output file /var/log/caddy/calls.log
    format json
}
log_append id {http.request.uuid}
# Globally: servers { log_credentials } lets Authorization stand in the log."""
TRAEFIK_LOG = """accessLog:
  filePath: /var/log/traefik/calls.log
  format: json
  fields:
    headers:
      names:
        X-Api-Key: keep"""
ENVOY_LOG = """access_log:
  - name: envoy.access_loggers.file
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: /var/log/envoy/calls.log
      log_format:
        json_format:
          transaction_id: "%UNIQUE_ID%"
          occurred_at: "%START_TIME%"
          key: "%REQ(X-API-KEY)%"
          method: "%REQ(:METHOD)%"
          path: "%REQ(:PATH)%"
          status: "%RESPONSE_CODE%"
          request_bytes: "%BYTES_RECEIVED%"
          response_bytes: "%BYTES_SENT%"
          latency_ms: "%DURATION%"
# Start Envoy with --file-flush-interval-msec 100"""
KONG_LOG = """plugins:
  - name: file-log
    config:
      path: /var/log/kong/calls.log
      reopen: true"""
APISIX_LOG = """plugins:
  file-logger:
    path: /var/log/apisix/calls.log
    log_format:
      request_id: "$request_id"
      start_time: "$msec"
      consumer_name: "$consumer_name"
      method: "$request_method"
      uri: "$uri"
      status: "$status"
      request_time: "$request_time\""""
AWS_LOG = """{"extendedRequestId":"$context.extendedRequestId",\
"requestTimeEpoch":"$context.requestTimeEpoch",\
"apiKeyId":"$context.identity.apiKeyId","httpMethod":"$context.httpMethod","path":"$context.path",\
"status":"$context.status","responseLength":"$context.responseLength",\
"responseLatency":"$context.responseLatency"}"""

# By kind: where the text goes, the text, and the log that is followed.
CONFIGURATIONS: Mapping[str, tuple[str, str, str]] = {
    Gateway.Kind.NGINX: ("In the http block of nginx.conf", NGINX_LOG, "/var/log/nginx/calls.log"),
    Gateway.Kind.APACHE: ("In the virtual host", APACHE_LOG, "/var/log/apache2/calls.log"),
    Gateway.Kind.HAPROXY: ("In the frontend of haproxy.cfg", HAPROXY_LOG, "/var/log/haproxy.log"),
    Gateway.Kind.CADDY: ("In the site of the Caddyfile", CADDY_LOG, "/var/log/caddy/calls.log"),
    Gateway.Kind.TRAEFIK: ("In traefik.yml", TRAEFIK_LOG, "/var/log/traefik/calls.log"),
    Gateway.Kind.ENVOY: ("In the connection manager", ENVOY_LOG, "/var/log/envoy/calls.log"),
    Gateway.Kind.ISTIO: ("In the connection manager", ENVOY_LOG, "/var/log/envoy/calls.log"),
    Gateway.Kind.KONG: ("In kong.yml", KONG_LOG, "/var/log/kong/calls.log"),
    Gateway.Kind.APISIX: ("In the route or a global rule", APISIX_LOG, "/var/log/apisix/calls.log"),
    Gateway.Kind.AWS: ("As the log format of the stage", AWS_LOG, "calls.log"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The way of a gateway's calls to here: its configuration, and the agent's commands."""

    place: str
    configuration: str
    server: str
    log: str


def recipe_of(gateway: Gateway, server: str) -> Recipe:
    """Return the recipe of the gateway's kind. `server`: the address of this revcred."""
    place, configuration, log = CONFIGURATIONS.get(gateway.kind, ("", "", "calls.log"))
    return Recipe(place=place, configuration=configuration, server=server, log=log)
