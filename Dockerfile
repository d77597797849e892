# Easel with its embedded models. By default with torch for NVIDIA's GPUs, as the lock has it:
#   docker build -t easel .
# Without CUDA, from PyTorch's own index of such builds (docs/installing.md, "Another torch"):
#   docker build -t easel --build-arg DEVICE=cpu --build-arg TORCH_INDEX=ADDRESS .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-trixie AS build
ARG DEVICE=cuda
ARG TORCH_INDEX=
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
COPY requirements.txt requirements.lock ./
RUN python -m venv /venv \
 && if [ "$DEVICE" = cuda ]; then cp requirements.lock rest.lock; \
    else \
      : "${TORCH_INDEX:?name the index of builds of torch without CUDA}"; \
      grep -E '^(torch|torchvision)==' requirements.txt > torch.txt; \
      /venv/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" --requirement torch.txt; \
      awk '/^[A-Za-z0-9]/ { skip = /^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)(==|\[)/ } !skip' \
        requirements.lock > rest.lock; \
    fi \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
      --requirement rest.lock

FROM python:${PYTHON}-slim-trixie
RUN useradd --uid 1000 --create-home easel && install --directory --owner easel /data
COPY --from=build /venv /venv
WORKDIR /easel
COPY LICENSE pyproject.toml app.py ./
COPY assets assets
COPY pipelines pipelines
COPY easel easel
ENV EASEL_HOST=0.0.0.0 EASEL_DATA_DIR=/data THP_MEM_ALLOC_ENABLE=1 PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# By number, which orchestrators can tell from root's.
USER 1000
VOLUME ["/data"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
  CMD ["/venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('EASEL_PORT', '7860')}/healthz\", timeout=8)"]
STOPSIGNAL SIGTERM
CMD ["/venv/bin/python", "app.py"]
