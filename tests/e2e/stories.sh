# The stories, told with kubectl. Each asserts the outcome and the reason.
# shellcheck shell=bash disable=SC2154,SC2034

# What a denial says, in one place.
UNSIGNED=SignatureMissing
DEFAULT_DENIED=DeniedByPolicy
WRONG_IDENTITY=SubjectMismatch
NO_ATTESTATION=AttestationMissing
WRONG_TYPE=PredicateTypeMismatch
IMAGE_ID=ImageIdNotAllowed
NO_REFERENCE=ImageReferenceInvalid
NO_IMAGE=ImageNotFound
UNREACHABLE=RegistryUnreachable
UNAUTHORIZED=RegistryUnauthorized
FORBIDDEN=RegistryForbidden
RATE_LIMITED=RegistryRateLimited
ILL_REGISTRY=RegistryError
TIMED_OUT=Timeout

NGINX=docker.io/library/nginx:latest
FOUND_IDENTITY=https://github.com/$OTHER
WANTED_IDENTITY='https://github.com/zionsworking/*'

# shellcheck disable=SC2153 # REPOSITORY is images.sh's
image() { echo "ghcr.io/$REPOSITORY:$1"; }
pinned() { echo "ghcr.io/$REPOSITORY:$1@$(digest_of "$WITHOUT_REFERRERS" "$1")"; }

tell_stories() {
    local namespace format
    for namespace in fallback-tag referrers own-policy; do
        for format in c3 c2; do
            story_1_signed $namespace $format
            story_2_unsigned $namespace $format
            story_4_other_identity $namespace $format
            story_5_attestations $namespace $format
        done
    done
    story_2_spellings
    story_3_default_deny
    story_6_moved_tag c3
    story_6_moved_tag c2
    story_7_outage
    story_8_every_image_field
    story_9_templates
    commands c3
    commands c2
    server
    crosscheck
}

# ---- asking ------------------------------------------------------------------------------------

# pod NAME IMAGE
pod() { container_list "$1" "containers: [{name: main, image: \"$2\"}]"; }

# container_list NAME SPEC...: a Pod whose spec has these lines.
container_list() {
    local name=$1
    shift
    printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n' "$name"
    printf '  %s\n' "$@"
}

count=0
# ask NAMESPACE COMMAND...: runs kubectl; the answer is in $status, $answer and $took (milliseconds).
ask() {
    local begun
    begun=$(date +%s%3N)
    status=0
    answer=$("$KUBECTL" -n "$@" 2>&1 </dev/null) || status=$?
    took=$(($(date +%s%3N) - begun))
}

# ask_for NAMESPACE IMAGE: a new Pod with that image, whose name is in $name.
ask_for() {
    count=$((count + 1))
    name=pod-$count
    ask "$1" apply -f <(pod $name "$2")
}

# denied ID TEXT WORD...: what was asked last was refused by the validating webhook, and its message
# has every word (and no word that is written with a `!` before it).
denied() {
    local id=$1 text=$2 missing
    shift 2
    if [ "$status" = 0 ]; then
        bad "$id" "$text" "a denial with $1" "admitted"
        return
    fi
    missing=$(unmet "$answer" 'admission webhook "validate.bonafide.dev" denied the request' "$@")
    if [ -z "$missing" ]; then ok "$id" "$text ($took ms)"; else bad "$id" "$text" "$missing" "$answer"; fi
}

# admitted ID TEXT
admitted() {
    if [ "$status" = 0 ]; then ok "$1" "$2 ($took ms)"; else bad "$1" "$2" admitted "$answer"; fi
}

# admitted_as ID TEXT NAMESPACE OBJECT JSONPATH IMAGE: admitted, and the field now holds IMAGE.
admitted_as() {
    local found
    [ "$status" = 0 ] || {
        bad "$1" "$2" "admitted as $6" "$answer"
        return
    }
    found=$("$KUBECTL" -n "$3" get "$4" -o "jsonpath={$5}" 2>&1) || true
    same "$1" "$2 ($took ms)" "$6" "$found"
}

# within ID TEXT MILLISECONDS: what was asked last was answered by then.
within() {
    if [ "$took" -lt "$3" ]; then ok "$1" "$2 ($took ms)"; else bad "$1" "$2" "under $3 ms" "$took ms"; fi
}

# ---- 1 to 6 ------------------------------------------------------------------------------------

story_1_signed() {
    local tag=$2-signed-with-sbom
    ask_for "$1" "$(image "$tag")"
    admitted_as 1a "$1: admits $tag by tag and pins it" "$1" "pod/$name" '.spec.containers[0].image' "$(pinned "$tag")"
    ask_for "$1" "$(pinned "$tag")"
    admitted_as 1b "$1: admits $tag by digest and leaves it so" "$1" "pod/$name" '.spec.containers[0].image' "$(pinned "$tag")"
}

story_2_unsigned() {
    ask_for "$1" "$(image "$2-unsigned")"
    denied 2a "$1: refuses $2-unsigned" $UNSIGNED
    ask_for "$1" "$(image "$2-attested-only")"
    denied 2b "$1: refuses $2-attested-only, for an SBOM is not a signature" $UNSIGNED
    ask_for "$1" "$(image "$2-absent")"
    denied 2c "$1: refuses $2-absent, which does not exist" $NO_IMAGE
}

story_2_spellings() {
    local host
    for host in GHCR.IO ghcr.io:443 ghcr.io:0443; do
        ask_for fallback-tag "$host/$REPOSITORY:c3-unsigned"
        denied 2d "refuses the unsigned image as $host/..., for it is the same" $UNSIGNED
    done
    ask_for fallback-tag "$(digest_of "$WITHOUT_REFERRERS" c3-unsigned)"
    denied 2e 'refuses an image ID, which no registry is asked for' $IMAGE_ID
    ask_for fallback-tag "ghcr.io/$REPOSITORY@sha256:abc"
    denied 2f 'refuses what is no image reference' $NO_REFERENCE
}

story_3_default_deny() {
    ask_for fallback-tag $NGINX
    denied 3a "default-deny refuses $NGINX" $DEFAULT_DENIED
    ask_for fallback-tag nginx
    denied 3b "default-deny refuses nginx, which is the same" $DEFAULT_DENIED
    ask_for no-default $NGINX
    admitted_as 3c "$NGINX is admitted as it is where no policy covers it" no-default "pod/$name" '.spec.containers[0].image' $NGINX
    ask_for no-default "$(image c3-unsigned)"
    denied 3d "and what a policy covers is refused there too" $UNSIGNED
}

story_4_other_identity() {
    ask_for "$1" "$(image "$2-other-identity")"
    denied 4a "$1: refuses $2-other-identity, with found and expected" $WRONG_IDENTITY "$FOUND_IDENTITY" "$WANTED_IDENTITY"
}

story_5_attestations() {
    ask_for "$1" "$(image "$2-signed-no-sbom")"
    denied 5a "$1: refuses $2-signed-no-sbom" $NO_ATTESTATION !$UNSIGNED
    ask_for "$1" "$(image "$2-sbom-by-other")"
    denied 5b "$1: refuses $2-sbom-by-other" $WRONG_IDENTITY "$FOUND_IDENTITY"
    ask_for "$1" "$(image "$2-other-type-only")"
    denied 5c "$1: refuses $2-other-type-only" $WRONG_TYPE !$UNSIGNED
}

# The server may remember a tag's digest for a few seconds; until it looks again, every answer must
# be pinned to the digest that it remembers.
story_6_moved_tag() {
    local tag=$1-moved repository=ghcr.io/$REPOSITORY old end=$((SECONDS + 30)) strays=''
    old=$(digest_of "$WITHOUT_REFERRERS" "$tag")
    ask_for fallback-tag "$(image "$tag")"
    admitted_as 6a "admits $tag" fallback-tag "pod/$name" '.spec.containers[0].image' "$(image "$tag")@$old"
    push_image "$WITHOUT_REFERRERS" "$tag" "$tag, rebuilt" >/dev/null
    while :; do
        ask_for fallback-tag "$(image "$tag")"
        if [ "$status" != 0 ] || [ $SECONDS -ge $end ]; then break; fi
        strays+=$("$KUBECTL" -n fallback-tag get pod "$name" -o 'jsonpath={.spec.containers[0].image}{"\n"}' | grep -vF "$old" || true)
        sleep 0.5
    done
    denied 6b "refuses $tag once the tag has moved" $UNSIGNED
    same 6c "admits the new digest of $tag at no time" '' "$strays"
    ask_for fallback-tag "$repository@$old"
    admitted_as 6d "still admits the old digest of $tag" fallback-tag "pod/$name" '.spec.containers[0].image' "$repository@$old"
    ask_for fallback-tag "$repository:$tag@$old"
    admitted 6e "and the old digest beside the moved tag $tag"
    ask_for fallback-tag "$(pinned "$tag")"
    denied 6f "refuses the new digest of $tag" $UNSIGNED
}

# ---- 7 -----------------------------------------------------------------------------------------

story_7_outage() {
    local by_tag by_digest fault code
    by_tag=$(image c3-signed-with-sbom)
    by_digest=$(pinned c3-signed-with-sbom)
    could_not_decide 7a "a registry that is down" $UNREACHABLE "$by_tag" "$by_digest"
    while read -r fault code; do
        start ill "$(tool python3)" "$HERE/faults.py" "${ILL#*:}" "$fault"
        wait_for ill 10 listening "$ILL"
        could_not_decide 7b "a registry that answers $fault" "$code" "$by_tag" "$by_digest"
        stop ill
    done <<TABLE
401 $UNAUTHORIZED
403 $FORBIDDEN
429 $RATE_LIMITED
500 $ILL_REGISTRY
hang $TIMED_OUT
TABLE
    recover
    ask_for outage "$by_tag"
    admitted_as 7c 'admits the image once the registry is back' outage "pod/$name" '.spec.containers[0].image' "$by_digest"
    local running=$name
    stop registry-outage
    ask outage label pod "$running" asked=again
    admitted 7d 'a label can be changed while the registry is down'
    ask_for outage "$by_digest"
    admitted 7e 'a digest that was verified is admitted while the registry is down'
    ask_for outage "$(pinned c2-signed-with-sbom)"
    denied 7f 'a digest that was not is refused' $UNREACHABLE !$UNSIGNED
    recover
    ask_for outage "$(pinned c2-signed-with-sbom)"
    admitted 7g 'and admitted once the registry is back'
}

# could_not_decide ID TEXT CODE IMAGE...: refused for that reason and not for want of a signature, and
# sooner than the API server's own time-out (twice 4 s here, for two webhooks are asked).
could_not_decide() {
    local id=$1 text=$2 code=$3 image
    shift 3
    for image; do
        ask_for outage "$image"
        denied "$id" "$text: $image is refused" "$code" !$UNSIGNED !$NO_ATTESTATION
        within "$id" "$text: $image is answered in time" 10000
    done
}

recover() {
    start_distribution registry-outage "$ILL"
    wait_for registry-outage 20 curl -sf "http://$ILL/v2/"
}

listening() { (: <"/dev/tcp/${1/://}"); }

# ---- 8 and 9 -----------------------------------------------------------------------------------

story_8_every_image_field() {
    local good bad pinned field at
    good=$(image c3-signed-with-sbom)
    bad=$(image c3-unsigned)
    pinned=$(pinned c3-signed-with-sbom)
    while read -r field at; do
        ask fallback-tag apply -f <(with_field "$field-bad" "$good" "$field" "$bad")
        denied 8a "refuses the unsigned image in $field" $UNSIGNED
        ask fallback-tag apply -f <(with_field "$field-good" "$good" "$field" "$good")
        admitted_as 8b "admits the signed image in $field and pins it" fallback-tag "pod/$(lower "$field-good")" "$at" "$pinned"
    done <<'TABLE'
initContainers .spec.initContainers[0].image
volumes        .spec.volumes[0].image.reference
TABLE

    ask_for fallback-tag "$good"
    ask fallback-tag debug "$name" --container=debugger --attach=false --profile=general "--image=$bad"
    denied 8c 'kubectl debug with the unsigned image is refused (ephemeralContainers)' $UNSIGNED debugger
    ask fallback-tag debug "$name" --container=debugger --attach=false --profile=general "--image=$good"
    admitted_as 8d 'kubectl debug with the signed image is admitted and pinned' fallback-tag "pod/$name" '.spec.ephemeralContainers[0].image' "$pinned"

    ask fallback-tag apply -f <(container_list two "containers: [{name: first-good, image: \"$good\"}, {name: second-bad, image: \"$bad\"}]")
    denied 8e 'one good and one bad container: the denial names the bad one' $UNSIGNED second-bad !first-good
    ask_for fallback-tag "$good"
    ask fallback-tag set image "pod/$name" "main=$bad"
    denied 8f 'kubectl set image to the unsigned one is refused' $UNSIGNED
}

# with_field NAME IMAGE FIELD OTHER_IMAGE: a Pod with OTHER_IMAGE in that field.
with_field() {
    local field
    case $3 in
    initContainers) field="initContainers: [{name: init, image: \"$4\"}]" ;;
    volumes) field="volumes: [{name: data, image: {reference: \"$4\"}}]" ;;
    esac
    container_list "$(lower "$1")" "containers: [{name: main, image: \"$2\"}]" "$field"
}

lower() { tr '[:upper:]' '[:lower:]' <<<"$1"; }

story_9_templates() {
    local kind at good
    good=$(image c3-signed-with-sbom)
    for kind in Deployment StatefulSet DaemonSet ReplicaSet ReplicationController Job CronJob; do
        ask fallback-tag apply -f <(workload "$kind" bad "$(image c3-unsigned)")
        denied 9a "refuses a $kind of the unsigned image" $UNSIGNED
        at=".spec.template.spec.containers[0].image"
        [ $kind != CronJob ] || at=.spec.jobTemplate$at
        ask fallback-tag apply -f <(workload "$kind" good "$good")
        admitted_as 9b "admits a $kind of the signed image, its tag left alone" fallback-tag "$kind/good" "$at" "$good"
    done
}

# workload KIND NAME IMAGE
workload() {
    local labels='labels: {app: e2e}' selector='selector: {matchLabels: {app: e2e}}' version=apps/v1
    local pod="{containers: [{name: main, image: \"$3\"}]}"
    local never="{restartPolicy: Never, containers: [{name: main, image: \"$3\"}]}"
    local template="template: {metadata: {$labels}, spec: $pod}" spec
    case $1 in
    StatefulSet) spec="{serviceName: e2e, $selector, $template}" ;;
    ReplicationController) version=v1 spec="{selector: {app: e2e}, $template}" ;;
    Job) version=batch/v1 spec="{template: {spec: $never}}" ;;
    CronJob) version=batch/v1 spec="{schedule: '0 0 * * *', jobTemplate: {spec: {template: {spec: $never}}}}" ;;
    *) spec="{$selector, $template}" ;;
    esac
    printf 'apiVersion: %s\nkind: %s\nmetadata: {name: %s}\nspec: %s\n' "$version" "$1" "$2" "$spec"
}

# ---- the commands ------------------------------------------------------------------------------

# run ID TEXT STATUS WORD... -- COMMAND...: exits so, and says every word.
run() {
    local id=$1 text=$2 wanted=$3 words=() out missing
    shift 3
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    status=0
    out=$(timeout 30 "$@" 2>&1) || status=$?
    missing=$(unmet "$out" "${words[@]}")
    if [ "$status" != "$wanted" ]; then
        bad "$id" "$text" "exit $wanted" "exit $status: $out"
    elif [ -n "$missing" ]; then
        bad "$id" "$text" "$missing" "$out"
    else
        ok "$id" "$text"
    fi
}

commands() {
    local mirror=(--registry-mirror "ghcr.io=http://$WITHOUT_REFERRERS") nowhere=(--registry-mirror "ghcr.io=http://127.0.0.1:9")
    local flags=(--trusted-root "$TRUST_ROOT" "${WANTED[@]}") verify sbom
    verify=("$BONAFIDE" verify "${flags[@]}")
    sbom=("$BONAFIDE" verify-attestation --type spdxjson "${flags[@]}")
    run v1 "verify accepts $1-signed-with-sbom" 0 -- "${verify[@]}" "${mirror[@]}" "$(image "$1-signed-with-sbom")"
    run v2 "verify refuses $1-unsigned" 1 $UNSIGNED -- "${verify[@]}" "${mirror[@]}" "$(image "$1-unsigned")"
    run v3 "verify refuses $1-other-identity" 1 $WRONG_IDENTITY -- "${verify[@]}" "${mirror[@]}" "$(image "$1-other-identity")"
    run v4 "verify cannot decide without a registry" 2 $UNREACHABLE -- "${verify[@]}" "${nowhere[@]}" "$(image "$1-signed-with-sbom")"
    run v5 "verify-attestation accepts $1-signed-with-sbom" 0 -- "${sbom[@]}" "${mirror[@]}" "$(image "$1-signed-with-sbom")"
    run v6 "verify-attestation refuses $1-signed-no-sbom" 1 $NO_ATTESTATION -- "${sbom[@]}" "${mirror[@]}" "$(image "$1-signed-no-sbom")"
    run v7 "verify-attestation refuses $1-sbom-by-other" 1 $WRONG_IDENTITY -- "${sbom[@]}" "${mirror[@]}" "$(image "$1-sbom-by-other")"
    run v8 "verify-attestation refuses $1-other-type-only" 1 $WRONG_TYPE -- "${sbom[@]}" "${mirror[@]}" "$(image "$1-other-type-only")"
    run v9 "verify-attestation cannot decide without a registry" 2 $UNREACHABLE -- "${sbom[@]}" "${nowhere[@]}" "$(image "$1-signed-with-sbom")"

    local apply=("$BONAFIDE" apply "$KYVERNO_POLICY" "$DEFAULT_DENY" --trusted-root "$TRUST_ROOT") resources=$STATE/resources
    pod good "$(image "$1-signed-with-sbom")" >"$resources-good.yaml"
    { pod good "$(image "$1-signed-with-sbom")" && echo --- && pod bad $NGINX; } >"$resources-both.yaml"
    run a1 "apply passes a Pod of $1-signed-with-sbom" 0 'fail: 0' 'error: 0' -- "${apply[@]}" "${mirror[@]}" --resource "$resources-good.yaml"
    run a2 "apply fails a second Pod of $NGINX" 1 'fail: 1' $DEFAULT_DENIED -- "${apply[@]}" "${mirror[@]}" --resource "$resources-both.yaml"
    run a3 "apply cannot decide without a registry" 2 $UNREACHABLE -- "${apply[@]}" "${nowhere[@]}" --resource "$resources-good.yaml"
}

# ---- the server itself -------------------------------------------------------------------------

server() {
    local url=https://127.0.0.1:8445 pid end status
    check s1 'metrics are served' grep -q '^bonafide_' <(curl -sf "http://$(health_of 8445)/metrics")
    same s2 'what is no AdmissionReview is answered with 400' 400 "$(post $url/validate <<<'no review')"
    same s3 'an AdmissionReview without a request too' 400 \
        "$(post $url/mutate <<<'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}')"
    same s4 'a body of 9 MiB is answered with 413' 413 "$(head -c 9437184 /dev/zero | post $url/validate)"
    echo 'kind: ClusterPolicy' >"$STATE/unreadable.yaml"
    run s5 'serve refuses to start with a policy that it cannot read' 2 unreadable.yaml -- \
        "$BONAFIDE" serve --policy "$STATE/unreadable.yaml" --listen 127.0.0.1:8499 --tls-self-signed
    pid=${pids[bonafide-own-policy]}
    unset 'pids[bonafide-own-policy]'
    kill "$pid"
    end=$((SECONDS + 40))
    while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    status=0
    wait "$pid" || status=$?
    same s6 'SIGTERM ends it with exit status 0' 0 $status
}

post() {
    curl -sk --max-time 20 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' --data-binary @- "$1" || true
}

# ---- real cosign on what the project's own test authority minted ---------------------------------

# `1.0.0` and every tag whose name has `signed-with-sbom` must be accepted, and every `unsigned` refused.
crosscheck() {
    local minted=${BONAFIDE_MINTED:-$REPO/policy/test/evidence} layout tag image tested=0 repository=0
    while read -r layout; do
        repository=$((repository + 1))
        image=$WITHOUT_REFERRERS/minted/$repository
        check x0 "the registry takes all of $(basename "$(dirname "$layout")")" push_layout "$(dirname "$layout")" "$image"
        while read -r tag; do
            case $tag in
            sha256-*) ;;
            *unsigned*) check x3 "cosign refuses the minted $tag" refuses 'no signatures found' cosign_verify "$(nearest_root "$layout" "$minted")" "$image:$tag" ;;
            1.0.0 | *signed-with-sbom*)
                tested=$((tested + 1))
                check x1 "cosign accepts the minted signature of $tag" cosign_verify "$(nearest_root "$layout" "$minted")" "$image:$tag"
                check x2 "cosign accepts the minted SBOM of $tag" cosign_verify_sbom "$(nearest_root "$layout" "$minted")" "$image:$tag"
                ;;
            esac
        done < <(jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$layout")
    done < <(find "$minted" -maxdepth 2 -name index.json 2>/dev/null | sort)
    [ $tested = 0 ] || return 0
    if [ "${CI:-}" = true ]; then
        bad x1 'cosign accepts what the test authority minted' "a tag 1.0.0 or *signed-with-sbom* in a layout under $minted" none
    else
        say "skipped: no minted evidence under $minted"
    fi
}

# nearest_root INDEX FOLDER: the trust root beside the layout's index, or that of the whole folder.
nearest_root() {
    local own
    own=$(dirname "$1")/trusted_root.json
    if [ -f "$own" ]; then echo "$own"; else echo "$2/trusted_root.json"; fi
}
