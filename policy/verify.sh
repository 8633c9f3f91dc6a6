#!/bin/sh
# Verifies an image by hand: its signature, then its SPDX attestation.
set -eu

usage() {
    cat <<'USAGE'
Usage: policy/verify.sh [options] IMAGE [-- FLAG...]

Verifies that IMAGE is signed by an identity, then that it carries an SPDX
document signed by that identity.

Options (environment variable in brackets):
  -i, --identity-regexp RE   subject of the certificate, as a regular expression
                             [IDENTITY_REGEXP; ^https://github.com/zionsworking/]
  -o, --issuer URL           OIDC issuer of the certificate
                             [ISSUER; https://token.actions.githubusercontent.com]
  -t, --trusted-root FILE    trusted_root.json of a private Sigstore
                             [TRUSTED_ROOT; the public instance]
  -h, --help                 print this text
Flags after -- go to both `bonafide verify` and `bonafide verify-attestation`,
e.g. --registry-mirror ghcr.io=http://localhost:5000.
The binary is `bonafide` on the PATH, or what BONAFIDE says.

Exit status: 0 verified, 1 not, 2 could not be decided.
USAGE
}

fail() {
    echo "verify.sh: $1; try --help" >&2
    exit 2
}

identity_regexp=${IDENTITY_REGEXP:-^https://github.com/zionsworking/}
issuer=${ISSUER:-https://token.actions.githubusercontent.com}
trusted_root=${TRUSTED_ROOT:-}
bonafide=${BONAFIDE:-bonafide}
image=

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    -i | --identity-regexp | -o | --issuer | -t | --trusted-root)
        if [ $# -lt 2 ] || [ -z "$2" ]; then
            fail "$1 needs a value"
        fi
        case $1 in
        -i | --identity-regexp) identity_regexp=$2 ;;
        -o | --issuer) issuer=$2 ;;
        *) trusted_root=$2 ;;
        esac
        shift 2
        ;;
    --)
        shift
        break
        ;;
    -*)
        fail "unknown option $1"
        ;;
    *)
        if [ -n "$image" ]; then
            fail "one image at a time: $image, $1"
        fi
        image=$1
        shift
        ;;
    esac
done
if [ -z "$image" ]; then
    fail "which image?"
fi
if ! command -v "$bonafide" >/dev/null; then
    fail "there is no $bonafide here; say where with BONAFIDE"
fi

set -- --certificate-identity-regexp "$identity_regexp" --certificate-oidc-issuer "$issuer" "$@"
if [ -n "$trusted_root" ]; then
    set -- --trusted-root "$trusted_root" "$@"
fi

# The exit status of the first that fails is ours.
echo "signature of $image" >&2
payload=$("$bonafide" verify "$@" "$image")
printf '%s\n' "$payload"
# A tag may move in between: the attestation has to be of the digest that was signed.
digest=$(printf '%s\n' "$payload" | grep -o '"image":{"docker-manifest-digest":"[^"]*"' | head -n 1 | cut -d '"' -f 6)
[ -n "$digest" ] || fail "verify printed no digest: leave its --output alone"
image=${image%@*}
case ${image##*/} in
*:*) image=${image%:*} ;;
esac
image=$image@$digest
echo "SPDX attestation of $image" >&2
"$bonafide" verify-attestation --type spdxjson "$@" "$image"
