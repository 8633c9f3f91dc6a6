#!/usr/bin/env bash
# Installs what `make e2e` needs: Debian packages where a command is missing, Go tools by building
# them at their pinned version into the user's cache. Running it again does only what is left to do.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools.sh
. "$here/tools.sh"

say() { echo "e2e: $*"; }
die() { echo "e2e: $*" >&2; exit 1; }

main() {
    mkdir -p "$TOOLS"
    exec 9>"$TOOLS/.lock"
    flock 9 # two runs at once would build everything twice
    rm -rf "$TOOLS"/.building.*
    trap clean_up EXIT
    install_packages
    install_go_tools
}

building=
policy_rc=
clean_up() {
    [ -z "$building" ] || rm -rf "$building"
    [ -z "$policy_rc" ] || as_root rm -f "$policy_rc"
}

# ---- Debian packages -------------------------------------------------------------------------

install_packages() {
    local missing=() name how package _
    while read -r name _ how package; do
        [ "$how" = deb ] || continue
        find_on_path "$name" >/dev/null || missing+=("$package")
    done < <(tool_table)
    [ ${#missing[@]} -gt 0 ] || return 0

    command -v apt-get >/dev/null || die "install these by hand, for there is no apt-get: ${missing[*]}"
    say "installing ${missing[*]} ..."
    keep_services_off
    apt_install "${missing[@]}" >/dev/null 2>&1 || {
        as_root apt-get update -qq || say "apt-get update had errors"
        apt_install "${missing[@]}" >/dev/null
    }
}

# etcd-server and postgresql would start a system service (and make a database cluster); the rig
# uses their programs only.
keep_services_off() {
    local cluster=/etc/postgresql-common/createcluster.conf
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy_rc=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin $policy_rc
    fi
    [ -e $cluster ] || echo 'create_main_cluster = false' | as_root install -Dm 644 /dev/stdin $cluster
}

apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# ---- Go tools --------------------------------------------------------------------------------

install_go_tools() {
    local name version how package
    while read -r name version how package; do
        case $how in
        go | k8s | ours) ;;
        'k8s?') if find_on_path "$name" >/dev/null; then continue; fi ;;
        *) continue ;;
        esac
        [ -x "$TOOLS/$name-$version/$name" ] || build "$name" "$version" "$how" "$package" 9>&- </dev/null
    done < <(tool_table)
}

# build NAME VERSION HOW PACKAGE: into a folder with another name first, so that a build cut short
# is never taken for a good one.
build() {
    local name=$1 version=$2 how=$3 package=$4 begun=$SECONDS
    command -v go >/dev/null || die "Go is needed to build $name $version"
    building=$(mktemp -d "$TOOLS/.building.XXXXXX")
    say "building $name $version ..."
    local by
    case $how in
    go) by=build_by_install ;;
    ours) by=build_ours ;;
    *) by=build_kubernetes ;;
    esac
    "$by" "$package" "$version" "$name" >"$building/log" 2>&1 || {
        tail -n 20 "$building/log" >&2
        die "building $name $version from $package failed"
    }
    mv "$building"/out/* "$building/$name"
    case $package in
    github.com/google/trillian/*) keep_trillian_schema "$version" ;;
    esac
    chmod -R u+w "$building"
    rm -rf "$building/out" "$building/module" "${TOOLS:?}/$name-$version"
    mv "$building" "$TOOLS/$name-$version"
    building=
    say "built $name $version in $((SECONDS - begun)) s"
}

build_by_install() {
    env GOFLAGS= GOWORK=off CGO_ENABLED=0 GOBIN="$building/out" \
        go install -trimpath -ldflags '-s -w' "$1@$2"
}

# Kubernetes' own module replaces its libraries by folders beside it, which `go install` refuses.
# A module of ours requires it and replaces them by the libraries' released versions.
build_kubernetes() (
    package=$1 version=$2
    libraries=v0.${version#v1.}
    stamp=k8s.io/component-base/version
    export GOFLAGS=-mod=mod GOWORK=off CGO_ENABLED=0
    mkdir "$building/module" && cd "$building/module" || exit
    mod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
    {
        echo "module bonafide.invalid/kubernetes"
        sed -n '/^go /p' "$mod"
        echo "require k8s.io/kubernetes $version"
        sed -n "s#^\t*\(k8s.io/[a-z-]*\) => ./staging/.*#replace \1 => \1 $libraries#p" "$mod"
    } >go.mod
    go build -trimpath -o "$building/out/" -ldflags "-s -w -X $stamp.gitVersion=$version \
        -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(cut -d. -f2 <<<"$version")" "$package"
)

build_ours() (
    package=$1 version=$2 name=$3
    mkdir "$building/module" && cp "$here/$name/main.go" "$building/module" && cd "$building/module" || exit
    printf 'module bonafide.invalid/%s\ngo 1.25\nrequire %s %s\n' "$name" "$package" "$version" >go.mod
    env GOFLAGS=-mod=mod GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$building/out/" .
)

# Trillian's database schema is in the module that its servers are built from.
keep_trillian_schema() {
    local folder
    folder=$(go mod download -json "github.com/google/trillian@$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    install -m 644 "$folder/storage/postgresql/schema/storage.sql" "$building/storage.sql"
}

main "$@"
