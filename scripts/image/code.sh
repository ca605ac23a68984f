#!/bin/sh
# Install the project's own code into its part of the image.
set -eu
cd /src
hatchling build --target wheel --directory /tmp/wheel
pip install --quiet --no-compile --target /opt/reranker/code /tmp/wheel/*.whl
$COMPILE /opt/reranker/code
chmod -R a+rX,go-w /opt/reranker/code
