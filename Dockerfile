# The gateway, its embedded engines, the PostgreSQL driver and `gateway top`: everything in requirements.lock.
#
#   docker build -t lakehouse-gateway .
#   docker run -v ./etc:/etc/gateway:ro -v gateway:/var/lib/gateway -p 8080:8080 -p 8123:8123 lakehouse-gateway
#
# /etc/gateway/gateway.yaml are the settings: listeners on 0.0.0.0, and server.state, audit.directory and
# store.url below /var/lib/gateway, the only place besides /tmp that is written to. The health check asks
# port 9090; set METRICS_PORT where `metrics.port` is another.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/gateway
COPY requirements.lock /src/
RUN /opt/gateway/bin/pip install --require-hashes --only-binary :all: -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY gateway /src/gateway
# What builds the wheel (hatchling) is pinned and hashed in the lock, too.
RUN /opt/gateway/bin/pip install --no-deps --no-build-isolation /src

FROM python:3.11-slim

RUN groupadd --system --gid 10001 gateway \
 && useradd --system --uid 10001 --gid gateway --no-create-home --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway -m 0700 /var/lib/gateway \
 && install -d -m 0755 /etc/gateway
COPY --from=build /opt/gateway /opt/gateway

ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_CONFIG=/etc/gateway/gateway.yaml \
    METRICS_PORT=9090

# Numbers, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/gateway
EXPOSE 8080 8123 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"METRICS_PORT\"]}/livez', timeout=2)"]

ENTRYPOINT ["gateway"]
CMD ["serve"]
