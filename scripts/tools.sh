#!/bin/sh
# What pip cannot install: Chromium, for the browser tests, buildah and debootstrap, for those of the images (apt-get, as root
# or by sudo), and Prometheus with its promtool, for the tests of alerts and dashboards. Prometheus is only unpacked into the cache: its package would start a service.
set -eu

cache=${RERANKER_CACHE:-$HOME/.cache/reranker-operator}
root=
[ "$(id -u)" = 0 ] || root=sudo

need_apt() { # need_apt WHAT VARIABLE: that there is apt-get, and up-to-date lists of packages
  command -v apt-get >/dev/null || {
    echo "tools: this machine has no apt-get; install $1 in its own way and put its path into $2"
    exit 1
  }
  [ -z "$root" ] || command -v sudo >/dev/null || {
    echo "tools: installing $1 takes root, and there is no sudo; as root: make tools"
    exit 1
  }
  [ -n "${updated:-}" ] || $root apt-get update -qq
  updated=yes
}

# Screenshots and layouts need some fonts; a minimal machine has none.
if found=$(command -v "${CHROMIUM:-chromium}"); then
  echo "tools: the browser tests use $found"
else
  need_apt Chromium CHROMIUM
  echo "tools: installing Chromium with apt-get${root:+ by sudo} (about a minute)"
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null
fi

if command -v buildah >/dev/null && command -v debootstrap >/dev/null; then
  echo "tools: the tests of images use $(command -v buildah) and $(command -v debootstrap)"
else
  need_apt "buildah and debootstrap" PATH
  echo "tools: installing buildah and debootstrap with apt-get${root:+ by sudo} (about a minute)"
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    buildah debootstrap debian-archive-keyring >/dev/null
fi

kept=$cache/prometheus/usr/bin
if found=$(command -v "${PROMTOOL:-promtool}") && command -v "${PROMETHEUS:-prometheus}" >/dev/null; then
  echo "tools: the tests of alerts use $found"
elif [ -x "$kept/promtool" ] && [ -x "$kept/prometheus" ]; then
  echo "tools: the tests of alerts use $kept/promtool"
else
  need_apt Prometheus "PROMETHEUS, that of its promtool into PROMTOOL"
  echo "tools: fetching Prometheus into $cache/prometheus (20 MB)"
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/prometheus.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  (cd "$new" && apt-get download -qq prometheus 2>/dev/null && dpkg -x prometheus_*.deb unpacked) || {
    echo "tools: apt-get download prometheus failed: try it by hand, or put the paths of both into PROMETHEUS and PROMTOOL"
    exit 1
  }
  rm -rf "$cache/prometheus"
  mv "$new/unpacked" "$cache/prometheus"
fi
