# The images that the stories are about, signed by real cosign 2 (legacy tags) and cosign 3 (bundles).
# shellcheck shell=bash disable=SC2154,SC2034

REPOSITORY=zionsworking/cicd-supply-chain-security
OTHER=zionsworking-evil/cicd-supply-chain-security # whose name begins as the right one does

#   variant          signed by    SBOM by      attested otherwise by
variants() {
    cat <<TABLE
signed-with-sbom     $REPOSITORY  $REPOSITORY  -
signed-no-sbom       $REPOSITORY  -            -
unsigned             -            -            -
other-identity       $OTHER       $OTHER       -
sbom-by-other        $REPOSITORY  $OTHER       -
attested-only        -            $REPOSITORY  -
other-type-only      $REPOSITORY  -            $REPOSITORY
moved                $REPOSITORY  $REPOSITORY  -
TABLE
}

# make_images FORMAT REGISTRY: every variant as REGISTRY/$REPOSITORY:FORMAT-VARIANT. FORMAT is c2 or
# c3, for the cosign that signs.
make_images() {
    local format=$1 registry=$2 variant signer sbom other image
    while read -ru 3 variant signer sbom other; do
        image=$(push_image "$registry" "$format-$variant" "$format-$variant") || return
        [ "$signer" = - ] || "sign_$format" "$signer" "$image" || return
        [ "$sbom" = - ] || "attest_$format" "$sbom" spdxjson sbom.spdx.json "$image" || return
        [ "$other" = - ] || "attest_$format" "$other" slsaprovenance1 provenance.json "$image" || return
    done 3< <(variants)
}

# push_image REGISTRY TAG CONTENT: one small layer; prints the image by digest.
push_image() {
    local folder
    folder=$(mktemp -d "$STATE/image.XXXXXX")
    echo "$3" >"$folder/content"
    tar -C "$folder" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$folder/layer.tar" content
    "$CRANE" append --new_layer "$folder/layer.tar" --new_tag "$1/$REPOSITORY:$2" 2>/dev/null | tail -n 1
    rm -r "$folder"
}

digest_of() { "$CRANE" digest "$1/$REPOSITORY:$2"; }

identity_token() { curl -sf "http://127.0.0.1:4001/token?repository=$1"; }

sign_c3() {
    "$COSIGN3" sign --yes --signing-config "$STATE/sigstore/signing-config.json" --trusted-root "$TRUST_ROOT" \
        --identity-token "$(identity_token "$1")" "$2"
}

attest_c3() {
    "$COSIGN3" attest --yes --signing-config "$STATE/sigstore/signing-config.json" --trusted-root "$TRUST_ROOT" \
        --identity-token "$(identity_token "$1")" --type "$2" --predicate "$STATE/$3" "$4"
}

# cosign 2 has no trust root in a file; it is given the keys one by one.
cosign2() {
    SIGSTORE_ROOT_FILE=$STATE/sigstore/fulcio.pem SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=$STATE/sigstore/ctlog.pub \
        SIGSTORE_REKOR_PUBLIC_KEY=$STATE/sigstore/rekor1.pub "$COSIGN2" "$@"
}

sign_c2() {
    cosign2 sign --yes --fulcio-url "$FULCIO" --rekor-url "$REKOR1" --identity-token "$(identity_token "$1")" "$2"
}

attest_c2() {
    cosign2 attest --yes --fulcio-url "$FULCIO" --rekor-url "$REKOR1" --identity-token "$(identity_token "$1")" \
        --type "$2" --predicate "$STATE/$3" "$4"
}

write_predicates() {
    cat >"$STATE/sbom.spdx.json" <<JSON
{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "app",
 "documentNamespace": "https://spdx.example/app", "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: e2e"]},
 "packages": [{"name": "app", "SPDXID": "SPDXRef-app", "versionInfo": "1.0.0", "downloadLocation": "NOASSERTION"}],
 "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-app"}]}
JSON
    cat >"$STATE/provenance.json" <<JSON
{"buildDefinition": {"buildType": "https://build.example/v1", "externalParameters": {}},
 "runDetails": {"builder": {"id": "https://build.example/builder"}}}
JSON
}

# ---- real cosign as the judge ------------------------------------------------------------------

WANTED=(--certificate-identity-regexp '^https://github.com/zionsworking/' --certificate-oidc-issuer "$ISSUER")

cosign_verify() { "$COSIGN3" verify --trusted-root "$1" "${WANTED[@]}" "$2"; }
cosign_verify_sbom() { "$COSIGN3" verify-attestation --type spdxjson --trusted-root "$1" "${WANTED[@]}" "$2"; }
without() { ! "$@"; }

# refuses WORDS COMMAND...: it fails, and says so; a verdict, not an accident.
refuses() {
    local words=$1 out
    shift
    ! out=$("$@" 2>&1) && grep -q "$words" <<<"$out" || ! echo "$out"
}

# What the rig made is what its names say, or no story is worth telling.
check_images() {
    local registry format of by_other="got .*https://github.com/$OTHER"
    for registry in $WITHOUT_REFERRERS $WITH_REFERRERS; do
        for format in c2 c3; do
            of=$registry/$REPOSITORY:$format
            check 0 "cosign accepts the signature of $of-signed-with-sbom" cosign_verify "$TRUST_ROOT" "$of-signed-with-sbom"
            check 0 "cosign accepts the SBOM of $of-signed-with-sbom" cosign_verify_sbom "$TRUST_ROOT" "$of-signed-with-sbom"
            check 0 "cosign refuses $of-unsigned" refuses 'no signatures found' cosign_verify "$TRUST_ROOT" "$of-unsigned"
            check 0 "cosign refuses $of-other-identity" refuses "$by_other" cosign_verify "$TRUST_ROOT" "$of-other-identity"
            check 0 "cosign refuses the SBOM of $of-sbom-by-other" refuses "$by_other\|predicate type" cosign_verify_sbom "$TRUST_ROOT" "$of-sbom-by-other"
            check 0 "cosign refuses the SBOM of $of-other-type-only" \
                refuses 'predicate type' cosign_verify_sbom "$TRUST_ROOT" "$of-other-type-only"
        done
    done
    check 0 "$WITH_REFERRERS has the referrers API" referrers_of "$WITH_REFERRERS" c3-signed-with-sbom
    check 0 "$WITHOUT_REFERRERS has not" without referrers_of "$WITHOUT_REFERRERS" c3-signed-with-sbom
}

referrers_of() {
    curl -sf "http://$1/v2/$REPOSITORY/referrers/$(digest_of "$1" "$2")" | jq -e '.manifests | length == 2'
}
