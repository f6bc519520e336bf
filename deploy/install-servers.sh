#!/bin/sh
# Install the server programs that the tests run, where they are missing. Nothing is started: Debian asks
# policy-rc.d before it starts a service, and for the length of this install the answer is no.
set -eu

missing=""
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || missing="$missing mariadb-server"
command -v redis-server >/dev/null || missing="$missing redis-server"
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing="$missing pgbouncer"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "the tests need$missing: install them, or run as root or with sudo" >&2; exit 1; }
    as_root="sudo"
fi

# What is written here for the length of the install is taken back, also at Ctrl-C: a policy left behind would keep
# every later service of this machine from starting.
written=""
trap '[ -z "$written" ] || $as_root rm -f $written' EXIT
trap 'exit 130' INT TERM HUP

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    written="$policy"
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
# Debian's postgresql would make a cluster of its own, which the tests do not use.
cluster=/etc/postgresql-common/createcluster.conf
if [ ! -e "$cluster" ]; then
    written="$written $cluster"
    $as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $as_root tee "$cluster" >/dev/null
fi

echo "installing$missing"
$as_root apt-get update --quiet --quiet
# shellcheck disable=SC2086 # a list of packages
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends $missing
