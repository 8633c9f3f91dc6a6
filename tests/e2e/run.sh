#!/usr/bin/env bash
# The stories on real parts: kube-apiserver, two registries, a private Sigstore, both cosigns.
#
# usage: run.sh BONAFIDE_BINARY     all of it
#        run.sh --rig-only          the parts alone, to see that they are sound
#
# Everything runs in a network namespace with nothing but loopback. Logs are kept on failure, and
# always with KEEP=1.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
# shellcheck source=tools.sh
. "$HERE/tools.sh"
# shellcheck source=lib.sh
. "$HERE/lib.sh"
# shellcheck source=sigstore.sh
. "$HERE/sigstore.sh"
# shellcheck source=control-plane.sh
. "$HERE/control-plane.sh"
# shellcheck source=registries.sh
. "$HERE/registries.sh"
# shellcheck source=images.sh
. "$HERE/images.sh"
# shellcheck source=bonafide.sh
. "$HERE/bonafide.sh"
# shellcheck source=stories.sh
. "$HERE/stories.sh"

main() {
    [ $# = 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
    [ "$1" = --rig-only ] || [ -x "$1" ] || { echo "e2e: no program $1" >&2 && exit 2; }
    if [ -z "${BONAFIDE_E2E_INSIDE:-}" ]; then
        "$HERE/install.sh"
        go_inside "$@"
    fi
    set_up "$1"
    start_sigstore
    start_control_plane
    start_registries
    await_sigstore
    say 'Sigstore and registries are up'
    sign_images
    say 'images are signed'
    check_images
    await_control_plane
    say 'the API server is up'
    check_closed_door
    if [ "$BONAFIDE" != --rig-only ]; then
        start_servers
        await_webhooks fallback-tag referrers own-policy no-default outage
        say 'Bonafide is up'
        tell_stories
    fi
    say 'all is told'
    echo
    echo "$passed passed, $failed failed"
    [ "$passed" -gt 0 ] && [ "$failed" = 0 ]
}

go_inside() {
    local kept=("HOME=$HOME" "PATH=$PATH") name as_root=()
    for name in XDG_CACHE_HOME TMPDIR KEEP CI BONAFIDE_MINTED; do
        [ -z "${!name:-}" ] || kept+=("$name=${!name}")
    done
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    exec "${as_root[@]}" env "${kept[@]}" BONAFIDE_E2E_INSIDE=1 unshare --net --mount -- "$0" "$@"
}

set_up() {
    STATE=$(mktemp -d "${TMPDIR:-/tmp}/bonafide-e2e.XXXXXX")
    chmod 711 "$STATE" # PostgreSQL's user passes through
    mkdir "$STATE/logs" "$STATE/home"
    BONAFIDE=$1
    [ "$1" = --rig-only ] || BONAFIDE=$(realpath "$1")
    trap 'finish $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    COSIGN3=$(tool cosign)
    COSIGN2=$(tool cosign2)
    CRANE=$(tool crane)
    KUBECTL=$(tool kubectl)
    TRUST_ROOT=$STATE/trusted_root.json
    # Nothing of the user's configuration is read, and nothing is left in it.
    export HOME=$STATE/home KUBECONFIG=$STATE/kubeconfig DOCKER_CONFIG=$STATE/home
    unset XDG_CACHE_HOME http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    "$(tool ip)" link set lo up
    printf '127.0.0.1 localhost\n127.0.0.1 %s\n' "${ISSUER#https://}" >"$STATE/hosts"
    mount --bind "$STATE/hosts" /etc/hosts # in a mount namespace of our own
}

finish() {
    local status=$1
    trap - EXIT INT TERM
    stop_all
    if [ "$status" != 0 ] || [ -n "${KEEP:-}" ]; then
        echo "e2e: logs are in $STATE/logs" >&2
        [ "$status" = 0 ] || tail -n 5 "$STATE"/logs/bonafide-*.log 2>/dev/null | cut -c 1-300 >&2 || true
    else
        rm -rf "$STATE"
    fi
    exit "$status"
}

# Bundles find their place by the registry's kind, so each registry gets its own; legacy tags are the
# same everywhere, but each copy is signed as a user would.
sign_images() {
    local job jobs=()
    write_predicates
    for job in "c3 $WITHOUT_REFERRERS" "c3 $WITH_REFERRERS" "c2 $WITHOUT_REFERRERS" "c2 $WITH_REFERRERS"; do
        # shellcheck disable=SC2086
        make_images $job >>"$STATE/logs/images-${job// /-}.log" 2>&1 &
        jobs+=("$!:images-${job// /-}")
    done
    for job in "${jobs[@]}"; do
        wait "${job%%:*}" || give_up "${job#*:}" "the images could not be signed"
    done
}

# A webhook that nobody answers refuses: what the stories call a denial must not be this.
check_closed_door() {
    register closed-door 9 "$STATE/kubernetes/certs/apiserver.crt" 2
    local end=$((SECONDS + 20))
    while ask_for closed-door "$(image c3-unsigned)" && [ "$status" = 0 ] && [ $SECONDS -lt $end ]; do sleep 0.2; done
    local missing
    missing=$(unmet "$answer" 'failed calling webhook' 'connection refused')
    same 0 'the API server refuses when no webhook answers' '' "$missing"
    "$KUBECTL" delete namespace closed-door --wait=false >/dev/null
}

main "$@"
