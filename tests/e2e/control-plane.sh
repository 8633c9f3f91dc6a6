# etcd and kube-apiserver on loopback. No controllers, no nodes: admission needs neither.
# shellcheck shell=bash disable=SC2154,SC2034

start_control_plane() {
    mkdir -p "$STATE/kubernetes"
    cd "$STATE/kubernetes" || exit
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key 2>/dev/null
    openssl pkey -in sa.key -pubout -out sa.pub
    echo 'admin,admin,1,"system:masters"' >tokens.csv
    start etcd "$(tool etcd)" --data-dir etcd --unsafe-no-fsync --log-level=warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    wait_for etcd 30 curl -sf http://127.0.0.1:2379/health
    # Without controllers no namespace gets its default ServiceAccount, which that plugin would ask for.
    start kube-apiserver "$(tool kube-apiserver)" --etcd-servers=http://127.0.0.1:2379 --cert-dir=certs \
        --secure-port=6443 --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=sa.pub \
        --service-account-signing-key-file=sa.key --service-cluster-ip-range=10.96.0.0/16 \
        --authorization-mode=RBAC --token-auth-file=tokens.csv --endpoint-reconciler-type=none \
        --disable-admission-plugins=ServiceAccount
    cd "$STATE" || exit
}

await_control_plane() {
    cat >"$KUBECONFIG" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $STATE/kubernetes/certs/apiserver.crt}}]
users: [{name: admin, user: {token: admin}}]
contexts: [{name: e2e, context: {cluster: e2e, user: admin}}]
current-context: e2e
YAML
    wait_for kube-apiserver 90 "$KUBECTL" get --raw /readyz
}

# register NAMESPACE PORT CA_FILE TIMEOUT_SECONDS: both webhooks, for that namespace alone, so that
# every namespace of the rig can have a server with a configuration of its own.
register() {
    local pods='
      - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE, UPDATE]}
      - {apiGroups: [""], apiVersions: [v1], resources: [pods/ephemeralcontainers], operations: [UPDATE]}'
    local workloads='
      - {apiGroups: [""], apiVersions: [v1], resources: [replicationcontrollers], operations: [CREATE, UPDATE]}
      - {apiGroups: [apps], apiVersions: [v1], resources: [deployments, replicasets, statefulsets, daemonsets], operations: [CREATE, UPDATE]}
      - {apiGroups: [batch], apiVersions: [v1], resources: [jobs, cronjobs], operations: [CREATE, UPDATE]}'
    "$KUBECTL" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $1}
---
$(webhook Mutating "$@")
    reinvocationPolicy: IfNeeded
    rules: $pods
---
$(webhook Validating "$@")
    rules: $pods$workloads
YAML
}

# webhook Mutating|Validating NAMESPACE PORT CA_FILE TIMEOUT_SECONDS: what both have in common.
webhook() {
    local path=mutate
    [ "$1" = Mutating ] || path=validate
    cat <<YAML
apiVersion: admissionregistration.k8s.io/v1
kind: ${1}WebhookConfiguration
metadata: {name: bonafide-$2}
webhooks:
  - name: $path.bonafide.dev
    clientConfig: {url: "https://127.0.0.1:$3/$path", caBundle: $(base64 -w0 "$4")}
    namespaceSelector:
      matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [$2]}]
    failurePolicy: Fail
    sideEffects: None
    matchPolicy: Equivalent
    timeoutSeconds: $5
    admissionReviewVersions: [v1]
YAML
}
