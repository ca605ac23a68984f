#!/bin/sh
# Write down what is installed: the licences, and a bill of materials that the tool checks against CycloneDX's schema.
set -eu
about=/opt/reranker/about
mkdir -p $about/licenses
/opt/reranker/venv/bin/python /src/scripts/image/licenses.py $about/licenses
cyclonedx-py environment --output-reproducible --validate --pyproject /src/pyproject.toml \
  --output-file $about/sbom.cdx.json /opt/reranker/venv/bin/python
chmod -R a+rX,go-w $about
