//! Admission reviews as an API server sends them, for both benchmarks.

use serde_json::{Value, json};

/// An `AdmissionReview` of about 5 kB: the creation of a Pod with a container for each of `images`, as a
/// Deployment's controller makes it.
pub fn review(images: &[&str]) -> String {
    let containers: Vec<Value> = images.iter().enumerate().map(|(at, image)| container(at, image)).collect();
    let user = "system:serviceaccount:kube-system:replicaset-controller";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "b7a2c9de-53c8-4c86-9a39-0c5c2a8b1c11",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": user, "uid": "4f51c1c8-0e6c-4e39-8c37-2f3a1e0a9a10", "groups": groups},
            "object": pod(&containers),
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
    .to_string()
}

fn pod(containers: &[Value]) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "checkout", "app.kubernetes.io/instance": "checkout-prod",
        "app.kubernetes.io/version": "1.0.0", "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "checkout-4.2.1", "pod-template-hash": "6d8f9c7b54",
    });
    let annotations = json!({
        "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "prometheus.io/path": "/metrics", "prometheus.io/port": "9102", "prometheus.io/scrape": "true",
        "kubectl.kubernetes.io/restartedAt": "2026-01-12T09:30:00Z",
    });
    let token = json!({"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ], "defaultMode": 420});
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": "checkout-6d8f9c7b54-",
            "namespace": "shop",
            "creationTimestamp": null,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-6d8f9c7b54",
                "uid": "5d1b4b2c-9a41-4a0f-9a52-8df1a9f9f001", "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-01-12T09:30:01Z", "fieldsType": "FieldsV1", "fieldsV1": managed_fields(),
            }],
        },
        "spec": {
            "volumes": [
                {"name": "config", "configMap": {"name": "checkout", "defaultMode": 420}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "kube-api-access-x7k2p", "projected": token},
            ],
            "containers": containers,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "checkout",
            "serviceAccount": "checkout",
            "securityContext": {"runAsNonRoot": true, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "checkout"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }]}},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    })
}

fn container(at: usize, image: &str) -> Value {
    json!({
        "name": format!("app-{at}"),
        "image": image,
        "args": ["--listen=:8080", "--metrics=:9102", "--config=/etc/checkout/config.yaml"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "checkout-db", "key": "password"}}},
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4317"},
        ],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [
            {"name": "config", "readOnly": true, "mountPath": "/etc/checkout"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5},
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

fn managed_fields() -> Value {
    json!({
        "f:metadata": {
            "f:generateName": {},
            "f:labels": {".": {}, "f:app.kubernetes.io/name": {}, "f:helm.sh/chart": {}, "f:pod-template-hash": {}},
            "f:ownerReferences": {".": {}, "k:{\"uid\":\"5d1b4b2c-9a41-4a0f-9a52-8df1a9f9f001\"}": {}},
        },
        "f:spec": {
            "f:containers": {"k:{\"name\":\"app-0\"}": {
                ".": {}, "f:args": {}, "f:env": {".": {}, "k:{\"name\":\"POD_IP\"}": {".": {}, "f:name": {}}},
                "f:image": {}, "f:name": {}, "f:ports": {".": {}}, "f:resources": {}, "f:volumeMounts": {".": {}},
            }},
            "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:volumes": {".": {}},
        },
    })
}
