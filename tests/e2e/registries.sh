# Two registries on loopback: the reference implementation, which has no referrers API (evidence is
# found by the fallback tag), and one in memory that has it.
# shellcheck shell=bash disable=SC2154,SC2034

WITHOUT_REFERRERS=127.0.0.1:5000
WITH_REFERRERS=127.0.0.1:5001
ILL=127.0.0.1:5002 # where the stories about outages start and stop what answers

start_registries() {
    mkdir -p "$STATE/registry"
    start_distribution registry $WITHOUT_REFERRERS
    start registry-referrers "$(tool registry-referrers)" $WITH_REFERRERS
    wait_for registry 30 curl -sf http://$WITHOUT_REFERRERS/v2/
    wait_for registry-referrers 30 curl -sf http://$WITH_REFERRERS/v2/
}

# start_distribution NAME ADDRESS: any number of them may serve the one folder.
start_distribution() {
    cat >"$STATE/$1.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $STATE/registry}}
http: {addr: $2}
YAML
    start "$1" env OTEL_TRACES_EXPORTER=none "$(tool registry)" serve "$STATE/$1.yaml"
}

# push_layout LAYOUT REGISTRY/REPOSITORY: all of an OCI image layout and every tag of its index.
# crane would push only what one image reaches, not the tags beside it.
push_layout() {
    local layout=$1 url="http://${2%%/*}/v2/${2#*/}" blob type digest tag
    local -A manifests=()
    while read -r blob type; do manifests[$blob]=$type; done < <(
        grep -lE '"schemaVersion": *2' "$layout"/blobs/sha256/* | xargs jq -r 'input_filename + " application/vnd.oci.image."
            + (if .manifests then "index" else "manifest" end) + ".v1+json"'
    )
    for blob in "$layout"/blobs/sha256/*; do
        [ -n "${manifests[$blob]:-}" ] || put_blob "$url" "$blob" || return
    done
    for type in manifest index; do # an index is refused before what it lists is there
        for blob in "${!manifests[@]}"; do
            case ${manifests[$blob]} in
            *."$type".v1+json) put_manifest "$url" "$blob" "${manifests[$blob]}" "sha256:$(basename "$blob")" || return ;;
            esac
        done
    done
    while read -r digest tag; do
        blob=$layout/blobs/${digest/://}
        put_manifest "$url" "$blob" "${manifests[$blob]}" "$tag" || return
    done < <(jq -r '.manifests[] | .digest + " " + .annotations["org.opencontainers.image.ref.name"]' "$layout/index.json")
}

put_blob() {
    local place
    place=$(curl -sfD - -o /dev/null -X POST "$1/blobs/uploads/" | sed -n 's/^[Ll]ocation: *\([^\r]*\)\r*$/\1/p')
    [ -n "$place" ] || return
    [[ $place == http* ]] || place=${1%%/v2/*}$place
    if [[ $place == *\?* ]]; then place+='&'; else place+='?'; fi
    curl -sf -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$2" \
        "${place}digest=sha256:$(basename "$2")"
}

# put_manifest URL FILE TYPE TAG_OR_DIGEST
put_manifest() { curl -sfo /dev/null -X PUT -H "Content-Type: $3" --data-binary "@$2" "$1/manifests/$4"; }
