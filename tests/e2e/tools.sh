# Every outside tool of the rig is named and pinned in this table, and nowhere else.
#
# how:  go   built by `go install PACKAGE@VERSION`
#       k8s  built from a module of its own (Kubernetes refuses `go install`)
#       k8s? the same, only where no command of that name is on PATH
#       ours built from the folder here of that name, against that module
#       deb  Debian package; its release pins the version
# shellcheck shell=bash

tool_table() {
    cat <<'TABLE'
crane                v0.22.1  go    github.com/google/go-containerregistry/cmd/crane
registry-referrers   v0.22.1  ours  github.com/google/go-containerregistry
registry             v3.1.2   go    github.com/distribution/distribution/v3/cmd/registry
fulcio               v1.8.8   go    github.com/sigstore/fulcio
timestamp-server     v2.1.3   go    github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server
rekor-tiles          v2.3.0   go    github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix
cosign               v3.1.3   go    github.com/sigstore/cosign/v3/cmd/cosign
trillian_log_server  v1.8.0   go    github.com/google/trillian/cmd/trillian_log_server
trillian_log_signer  v1.8.0   go    github.com/google/trillian/cmd/trillian_log_signer
rekor-server         v1.5.4   go    github.com/sigstore/rekor/cmd/rekor-server
cosign2              v2.6.5   go    github.com/sigstore/cosign/v2/cmd/cosign
kube-apiserver       v1.36.3  k8s   k8s.io/kubernetes/cmd/kube-apiserver
kubectl              v1.36.3  k8s?  k8s.io/kubernetes/cmd/kubectl
etcd                 -        deb   etcd-server
initdb               -        deb   postgresql
psql                 -        deb   postgresql-client
python3              -        deb   python3
openssl              -        deb   openssl
curl                 -        deb   curl
jq                   -        deb   jq
ip                   -        deb   iproute2
unshare              -        deb   util-linux
setpriv              -        deb   util-linux
TABLE
}

TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/bonafide/tools

# find_on_path COMMAND: its path. PostgreSQL's server programs are outside PATH, in a folder whose
# name has the version.
find_on_path() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" && return
    find /usr/lib/postgresql -path "*/bin/$1" 2>/dev/null | sort -V | tail -n 1 | grep .
}

# tool NAME: the path of its program, or a message and status 1 where it isn't installed.
tool() {
    local name version how _
    while read -r name version how _; do
        [ "$name" = "$1" ] || continue
        case $how in deb | 'k8s?') find_on_path "$name" && return ;; esac
        [ -x "$TOOLS/$name-$version/$name" ] && echo "$TOOLS/$name-$version/$name" && return
        echo "e2e: $name is not installed: run tests/e2e/install.sh" >&2
        return 1
    done < <(tool_table)
    echo "e2e: tests/e2e/tools.sh has no tool $1" >&2
    return 1
}
