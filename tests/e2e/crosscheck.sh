#!/usr/bin/env bash
# Real cosign, both major versions, on what the test Sigstore makes and the test registry serves: it has to
# accept what is sound and refuse what is flawed. usage: crosscheck.sh   env: CARGO
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools.sh
. "$here/tools.sh"
cd "$here/../.."
for cosign in cosign cosign2; do
    echo "e2e: $cosign against the test Sigstore"
    COSIGN=$(tool $cosign) "${CARGO:-cargo}" test --quiet --test support -- --ignored
done
