#!/bin/sh
# The example policies against the example Pods, offline: one is admitted, one is denied.
# usage: policy/test/run.sh PATH_OF_BONAFIDE
set -eu
bonafide=$1
cd "$(dirname "$0")/../.."

status=0
output=$("$bonafide" apply policy/kyverno-verify-images.yaml policy/default-deny.yaml \
    --resource policy/test/pods.yaml \
    --layout policy/test/evidence --trusted-root policy/test/evidence/trusted_root.json) || status=$?
printf '%s\n' "$output"

expect() {
    printf '%s\n' "$output" | grep -q -- "$1" || {
        echo "policy-test: expected a line with: $1" >&2
        exit 1
    }
}
expect '^pass  default/Pod/signed: policy verify-images/check-cosign-signature$'
expect '^pass  default/Pod/signed: policy verify-images/require-sbom-attestation$'
expect 'docker.io/library/nginx:latest.*DeniedByPolicy'
expect '^pass: 2, fail: 1, warn: 0, error: 0, skip: 0$'
[ "$status" = 1 ] || {
    echo "policy-test: expected exit status 1, found $status" >&2
    exit 1
}
echo "policy-test: one Pod admitted, one denied, exit status 1: as expected"
