#!/usr/bin/env bash
# Containers where no container registry can be reached: Docker's own engine, and bases made here from
# the machine's Debian mirror. As root, on Debian 12.
#
#   images/sealed.sh start        start the engine; prints the DOCKER_HOST to set
#   images/sealed.sh base         make local/python:3.11
#   images/sealed.sh base 3.10    make local/python:3.10, from this machine's Python 3.10
#   images/sealed.sh stop         stop the engine
#
# SEALED (a folder; /var/tmp/cellmill-sealed) keeps the engine's images from one use to the next.
set -euo pipefail

folder="${SEALED:-/var/tmp/cellmill-sealed}"
export DOCKER_HOST="unix://$folder/docker.sock"

fail() { echo "sealed: $*" >&2; exit 1; }

install() {
  command -v "$1" > /dev/null && return
  [ "$(id -u)" = 0 ] || fail "$1: expected on the path (apt-get install $2), found none"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; } > "$folder/apt.log" 2>&1 ||
    fail "$2 could not be installed: $(tail -1 "$folder/apt.log")"
}

start() {
  mkdir -p "$folder"
  install dockerd docker.io
  if ! docker version > /dev/null 2>&1; then
    rm -f "$folder/pid"
    setsid dockerd --bridge=none --iptables=false --ip6tables=false -H "$DOCKER_HOST" \
      --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
      < /dev/null > "$folder/engine.log" 2>&1 &
    for _ in $(seq 60); do
      sleep 0.5
      docker version > /dev/null 2>&1 && break
    done
    docker version > /dev/null 2>&1 || fail "the engine does not start: $(tail -1 "$folder/engine.log")"
  fi
  echo "$DOCKER_HOST"
}

stop() {
  [ -s "$folder/pid" ] || return 0
  kill "$(cat "$folder/pid")" 2> /dev/null || true
  for _ in $(seq 60); do
    [ -e "$folder/pid" ] || { umount "$folder/exec/netns/default" 2> /dev/null || true; return 0; }
    sleep 0.5
  done
  fail "the engine does not stop"
}

debian() {
  [ -n "$(docker image ls --quiet local/python:3.11)" ] && return
  install debootstrap debootstrap
  local root="$folder/root"
  rm -rf "$root"
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
    bookworm "$root" > "$folder/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -1 "$folder/debootstrap.log")"
  # The machine's certificates, for a package index that it reaches through a proxy of its own.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . |
    docker import --change "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt" - local/python:3.11 > /dev/null
  rm -rf "$root"
}

# Debian 12 has one Python; another is this machine's own, on top of the same base.
other() {
  [ -n "$(docker image ls --quiet "local/python:$1")" ] && return
  local python prefix layer="$folder/layer"
  python="$(python3 -c 'import sys; from launch.images.environments import find_python; print(find_python(sys.argv[1]))' "$1")"
  prefix="$("$python" -c 'import sys; print(sys.base_prefix)')"
  rm -rf "$layer" && mkdir -p "$layer"
  tar -C "$prefix" -c --exclude=__pycache__ --exclude=test --exclude=site-packages bin include lib | tar -C "$layer" -x
  "$python" -m ensurepip --version > /dev/null || fail "Python $1: expected with ensurepip, found without"
  printf '%s\n' "FROM local/python:3.11" "COPY . /usr/local/" \
    "RUN ldconfig && ln -sf python$1 /usr/local/bin/python3 && python3 -m ensurepip > /dev/null" > "$layer.Dockerfile"
  docker build --quiet --network=host --tag "local/python:$1" --file "$layer.Dockerfile" "$layer" > /dev/null
  rm -rf "$layer" "$layer.Dockerfile"
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  base)
    mkdir -p "$folder"
    debian
    [ "${2:-3.11}" = 3.11 ] || other "$2"
    ;;
  *) fail "expected start, base or stop, found '${1:-}'" ;;
esac
