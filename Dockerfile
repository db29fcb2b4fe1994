# hydrad in a container.
#   docker build --target cpu -t hydrad .
#   docker run --rm -p 127.0.0.1:8471:8471 -v MODEL:/model:ro -v ADAPTERS:/adapters:ro hydrad
#
# The runtime listens on every address of its own network namespace in plaintext, because that is the only way out of
# a container: publish its ports on loopback, or put a proxy that ends TLS in front (see README.md).
#
# Targets: cpu, and cuda on NVIDIA's CUDA 13 images (the same daemon where the GPU libraries are at hand; until the CUDA
# backend exists it serves on the CPU there too).
ARG BASE=debian:bookworm-slim
ARG CUDA_VERSION=13.0.1
ARG CUDA_BUILD=nvidia/cuda:${CUDA_VERSION}-devel-ubuntu24.04
ARG CUDA_RUNTIME=nvidia/cuda:${CUDA_VERSION}-runtime-ubuntu24.04

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/install-packages deploy/install-packages
RUN deploy/install-packages build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DHYDRAD_TESTS=OFF \
 && cmake --build build --target hydrad hydractl \
 && strip build/bin/hydrad build/bin/hydractl

FROM ${BASE} AS cpu
COPY deploy/install-packages /tmp/install-packages
RUN /tmp/install-packages runtime && rm -rf /tmp/install-packages /var/lib/apt/lists/*
COPY --from=build /src/build/bin/hydrad /src/build/bin/hydractl /usr/local/bin/
COPY deploy/models/tiny /model
COPY deploy/adapters/tiny /adapters
USER 65532:65532
ENV HYDRAD_MODEL=/model \
    HYDRAD_ADAPTER_ROOT=/adapters \
    HYDRAD_LISTEN=0.0.0.0:8471 \
    HYDRAD_ADMIN_LISTEN=127.0.0.1:8472 \
    HYDRAD_METRICS_LISTEN=0.0.0.0:9471 \
    HYDRAD_ALLOW_PLAINTEXT_PUBLIC=true
EXPOSE 8471 9471
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/usr/local/bin/hydractl", "health", "--server", "127.0.0.1:8471"]
ENTRYPOINT ["/usr/local/bin/hydrad"]

FROM ${CUDA_BUILD} AS cuda-build
WORKDIR /src
COPY deploy/install-packages deploy/install-packages
RUN deploy/install-packages build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DHYDRAD_TESTS=OFF \
 && cmake --build build --target hydrad hydractl \
 && strip build/bin/hydrad build/bin/hydractl

FROM ${CUDA_RUNTIME} AS cuda
COPY deploy/install-packages /tmp/install-packages
RUN /tmp/install-packages runtime && rm -rf /tmp/install-packages /var/lib/apt/lists/*
COPY --from=cuda-build /src/build/bin/hydrad /src/build/bin/hydractl /usr/local/bin/
COPY deploy/models/tiny /model
COPY deploy/adapters/tiny /adapters
USER 65532:65532
ENV HYDRAD_MODEL=/model \
    HYDRAD_ADAPTER_ROOT=/adapters \
    HYDRAD_LISTEN=0.0.0.0:8471 \
    HYDRAD_ADMIN_LISTEN=127.0.0.1:8472 \
    HYDRAD_METRICS_LISTEN=0.0.0.0:9471 \
    HYDRAD_ALLOW_PLAINTEXT_PUBLIC=true
EXPOSE 8471 9471
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/usr/local/bin/hydractl", "health", "--server", "127.0.0.1:8471"]
ENTRYPOINT ["/usr/local/bin/hydrad"]
