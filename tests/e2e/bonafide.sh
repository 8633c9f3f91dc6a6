# The servers under test: one for each namespace of the stories, each with its own policies and
# registry, and each called by webhooks of its own.
# shellcheck shell=bash disable=SC2154,SC2034

KYVERNO_POLICY=$REPO/policy/kyverno-verify-images.yaml
OWN_POLICY=$REPO/policy/verify-images.yaml
DEFAULT_DENY=$REPO/policy/default-deny.yaml

start_servers() {
    #     namespace      port  registry              webhook's time-out, policies
    serve fallback-tag   8443  "$WITHOUT_REFERRERS"  10 "$KYVERNO_POLICY" "$DEFAULT_DENY"
    serve referrers      8444  "$WITH_REFERRERS"     10 "$KYVERNO_POLICY" "$DEFAULT_DENY"
    serve own-policy     8445  "$WITHOUT_REFERRERS"  10 "$OWN_POLICY"
    serve no-default     8446  "$WITHOUT_REFERRERS"  10 "$KYVERNO_POLICY"
    serve outage         8447  "$ILL"                4  "$KYVERNO_POLICY"
}

health_of() { echo "127.0.0.1:$(($1 - 363))"; } # 8443: 8080, 8444: 8081, ...

# serve NAMESPACE PORT REGISTRY TIMEOUT_SECONDS POLICY...: it prints its CA on standard output.
serve() {
    local namespace=$1 port=$2 registry=$3 timeout=$4 health policies=() policy
    health=$(health_of "$port")
    shift 4
    for policy; do policies+=(--policy "$policy"); done
    local ca=$STATE/ca-$namespace.pem
    start "bonafide-$namespace" to_file "$ca" "$BONAFIDE" serve "${policies[@]}" --trusted-root "$TRUST_ROOT" \
        --listen "127.0.0.1:$port" --health-listen "$health" --tls-self-signed \
        --registry-mirror "ghcr.io=http://$registry"
    wait_for "bonafide-$namespace" 10 curl -sf "http://$health/readyz"
    wait_for "bonafide-$namespace" 10 grep -q 'END CERTIFICATE' "$ca"
    register "$namespace" "$port" "$ca" "$timeout"
}

to_file() {
    local file=$1
    shift
    exec "$@" >"$file"
}

# The API server sees a webhook a moment after it was registered.
await_webhooks() {
    local namespace
    for namespace; do
        wait_for webhooks 20 is_refused "$namespace"
    done
}

is_refused() { ! pod await "$(image c3-unsigned)" | "$KUBECTL" -n "$1" create --dry-run=server -f -; }
