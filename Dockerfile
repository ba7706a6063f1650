# One image for every process of revcred: compose.yaml says which command each runs.

FROM python:3.13-slim AS packages
RUN python -m venv /opt/venv
# "otel" adds OpenTelemetry's packages.
ARG REQUIREMENTS=production
COPY requirements/${REQUIREMENTS}.txt /tmp/requirements.txt
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: -r /tmp/requirements.txt

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ENVIRONMENT=production
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin revcred
WORKDIR /srv/revcred
COPY --from=packages /opt/venv /opt/venv
COPY . .
# The settings insist on these. None of them is used here, nor kept in the image.
RUN SECRET_KEY=build FERNET_KEYS=build-ring FINGERPRINT_KEY=build \
    DATABASE_URL=postgres://build/build REDIS_URL=redis://build \
    python manage.py collectstatic --no-input \
 && python -m compileall -q manage.py revcred metering storefront
# Where the files of uploads lie: a volume, which takes its owner from here.
RUN install --directory --owner=revcred --mode=0700 /var/lib/revcred/uploads
# The code stays root's: the processes read it and cannot change it.
USER revcred
EXPOSE 8000
CMD ["granian", "revcred.rsgi:application", "--interface", "rsgi", "--host", "0.0.0.0", \
     "--port", "8000", "--workers", "1", "--no-ws", "--http", "1", "--http1-header-read-timeout", "10000", \
     "--respawn-failed-workers", "--workers-kill-timeout", "10", "--log-level", "warning"]
