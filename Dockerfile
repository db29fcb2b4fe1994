# hydrad in a container.
#   docker build -t hydrad .
#   docker run --rm -p 127.0.0.1:8470:8470 -p 127.0.0.1:8471:8471 -v MODEL:/model:ro -v ADAPTERS:/adapters:ro hydrad
# With the CUDA backend, on NVIDIA's CUDA 13 images (it takes a GPU if the container has one, and says so if not):
#   docker build -t hydrad:cuda --build-arg CUDA=ON --build-arg BUILD_BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 \
#     --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
#   docker run --rm --gpus all -p 127.0.0.1:8471:8471 -v MODEL:/model:ro -v ADAPTERS:/adapters:ro hydrad:cuda
#
# The runtime listens on every address of its own network namespace in plaintext, because that is the only way out of
# a container: publish its ports on loopback, or put a proxy that ends TLS in front (see README.md).
ARG BASE=debian:bookworm-slim
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
ARG CUDA=OFF
WORKDIR /src
COPY deploy/install-packages deploy/install-packages
RUN deploy/install-packages build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DHYDRAD_TESTS=OFF -DHYDRAD_CUDA=${CUDA} \
 && cmake --build build --target hydrad hydractl $([ ${CUDA} = OFF ] || echo hydrad_cuda) \
 && cmake --install build --component daemon --strip --prefix /opt/hydrad

FROM ${BASE} AS hydrad
COPY deploy/install-packages /tmp/install-packages
RUN /tmp/install-packages runtime && rm -rf /tmp/install-packages /var/lib/apt/lists/*
COPY --from=build /opt/hydrad/ /usr/local/
COPY deploy/models/tiny /model
COPY deploy/adapters/tiny /adapters
USER 65532:65532
ENV HYDRAD_MODEL=/model \
    HYDRAD_ADAPTER_ROOT=/adapters \
    HYDRAD_LISTEN=0.0.0.0:8471 \
    HYDRAD_HTTP_LISTEN=0.0.0.0:8470 \
    HYDRAD_ADMIN_LISTEN=127.0.0.1:8472 \
    HYDRAD_METRICS_LISTEN=0.0.0.0:9471 \
    HYDRAD_ALLOW_PLAINTEXT_PUBLIC=true
EXPOSE 8470 8471 9471
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/usr/local/bin/hydractl", "health", "--server", "127.0.0.1:8471"]
ENTRYPOINT ["/usr/local/bin/hydrad"]
