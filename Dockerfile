# The gateway alone, for engines that run elsewhere:   docker build -t headgate .
# With vLLM for CPUs and ONNX Runtime beside it:        docker build -t headgate:engines --target engines .
# Both read /etc/headgate/models.toml:                  docker run -p 8000:8000 -v ./models.toml:/etc/headgate/models.toml:ro headgate

FROM python:3.11-slim AS build
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

FROM python:3.11-slim AS base
RUN useradd --system --create-home --uid 10001 headgate
ENV PATH=/opt/headgate/bin:$PATH
EXPOSE 8000 9000
ENTRYPOINT ["headgate"]
# Inside a container the control port is reachable only where it is published, so it may listen on every interface.
CMD ["serve", "--config", "/etc/headgate/models.toml", "--listen", "0.0.0.0:8000", "--control", "0.0.0.0:9000"]

FROM base AS engines
RUN apt-get update && apt-get install --yes --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-engines /opt/headgate /opt/headgate
USER headgate

FROM base AS gateway
COPY --from=build /opt/headgate /opt/headgate
USER headgate
