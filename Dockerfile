# The gateway alone, for engines that run elsewhere:   docker build -t headgate .
# With vLLM for CPUs and ONNX Runtime beside it:        docker build -t headgate:engines --target engines .
# Both read /etc/headgate/models.toml:                  docker run -p 8000:8000 -v ./models.toml:/etc/headgate/models.toml:ro headgate
# With Prometheus and Grafana beside it:                docker compose up

FROM python:3.11.15-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/headgate
COPY locks/ locks/
RUN /opt/headgate/bin/pip install --require-hashes --no-deps -r locks/gateway.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway/ gateway/
COPY engines/ engines/
COPY loadtest/ loadtest/
RUN /opt/headgate/bin/pip install --no-deps --no-build-isolation .

FROM build AS build-engines
RUN /opt/headgate/bin/pip install --require-hashes --no-deps -r locks/engines-cpu.txt \
 && /opt/headgate/bin/pip install -c locks/torch.txt torch

FROM python:3.11.15-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba AS base
# tini takes the place of process 1, which would have to reap what engines leave behind. The folders are made here so that
# volumes mounted over them belong to the user, too.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini=0.19.0-* \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --uid 10001 headgate \
 && install -d -o headgate /home/headgate/.cache /home/headgate/.cache/headgate \
    /home/headgate/.local /home/headgate/.local/share /home/headgate/.local/share/headgate
ENV PATH=/opt/headgate/bin:$PATH
EXPOSE 8000 9000
# Engines have no part in it: while they load, the gateway is well, and restarting it would not mend them. Nor has a proxy
# that the container needs for downloads.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:9000/livez', timeout=4)"]
ENTRYPOINT ["tini", "--", "headgate"]
# Inside a container the control port is reachable only where it is published, so it may listen on every interface.
CMD ["serve", "--config", "/etc/headgate/models.toml", "--listen", "0.0.0.0:8000", "--control", "0.0.0.0:9000"]

FROM base AS engines
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnuma1=2.0.16-* \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-engines /opt/headgate /opt/headgate
USER 10001

FROM base AS gateway
COPY --from=build /opt/headgate /opt/headgate
USER 10001
