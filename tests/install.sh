#!/bin/sh
# Installs what the tests need and the machine lacks: a C compiler, PostgreSQL, its JDBC and ODBC drivers, Python with venv, Java, Node, Chromium, openssl, cargo-nextest.
# The packages of the client tests go into folders beside the build output. `install.sh bench` also installs Redis and chDB,
# `install.sh prove` Apache Superset.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$HOME/.cache/lacus/target}

missing=
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v psql >/dev/null || missing="$missing postgresql-client"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v python3 >/dev/null || missing="$missing python3"
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
ls /usr/share/java/postgresql.jar >/dev/null 2>&1 || missing="$missing libpostgresql-jdbc-java"
command -v openssl >/dev/null || missing="$missing openssl"
command -v java >/dev/null && java --list-modules | grep -q jdk.compiler || missing="$missing default-jdk-headless"
ls /usr/lib/*/odbc/psqlodbcw.so >/dev/null 2>&1 || missing="$missing odbc-postgresql unixodbc"
command -v npm >/dev/null || missing="$missing nodejs npm"
command -v chromium >/dev/null || missing="$missing chromium"
[ "${1:-}" != bench ] || command -v redis-server >/dev/null || missing="$missing redis-server"
if [ -n "$missing" ]; then
  echo "installing$missing"
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest

venv=$(dirname "$target")/venv
requirements=$here/clients/requirements.txt
if ! cmp -s "$requirements" "$venv/installed.txt"; then
  echo "installing the Python clients into $venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi

[ "${1:-}" != bench ] || "$venv/bin/pip" install --quiet chdb==4.4.0

# It wants other versions than the other clients.
superset=$(dirname "$target")/superset-venv
if [ "${1:-}" = prove ] && ! cmp -s "$here/clients/superset.txt" "$superset/installed.txt"; then
  echo "installing Apache Superset into $superset"
  python3 -m venv "$superset"
  "$superset/bin/pip" install --quiet --requirement "$here/clients/superset.txt"
  cp "$here/clients/superset.txt" "$superset/installed.txt"
fi

node=$(dirname "$target")/node
mkdir -p "$node"
cp "$here"/clients/node/*.mjs "$node"
if ! cmp -s "$here/clients/node/package-lock.json" "$node/installed.json"; then
  echo "installing the JavaScript clients into $node"
  cp "$here/clients/node/package.json" "$here/clients/node/package-lock.json" "$node"
  # Not `npm ci`: it insists on optional packages for machines of other kinds being locked too.
  (cd "$node" && npm install --no-save --no-audit --no-fund --silent)
  cp "$here/clients/node/package-lock.json" "$node/installed.json"
fi
