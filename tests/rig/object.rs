//! Pods and workloads as they are by the time of admission: defaults and noise included.

use serde_json::{Value, json};

/// Group, version, kind and plural name of every kind with a Pod in it.
pub const KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "ReplicationController", "replicationcontrollers"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("batch", "v1", "Job", "jobs"),
    ("batch", "v1", "CronJob", "cronjobs"),
];

/// The kinds of [`KINDS`] that hold a template.
pub fn workload_kinds() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().map(|(_, _, kind, _)| kind).filter(|kind| *kind != "Pod")
}

/// Group, version, kind and plural name of `object`.
pub fn kind_of(object: &Value) -> (String, String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), api_version),
    };
    let known = KINDS.into_iter().find(|(_, _, known, _)| *known == kind);
    let plural = known.map_or_else(|| kind.to_lowercase() + "s", |(_, _, _, plural)| plural.to_owned());
    (group, version, kind, plural)
}

/// A container.
pub fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "command": ["/app"],
        "env": [{ "name": "POD_IP", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "status.podIP" } } }],
        "resources": { "limits": { "memory": "64Mi" }, "requests": { "cpu": "10m", "memory": "64Mi" } },
        "volumeMounts": [{
            "name": "kube-api-access-7k2xq", "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    })
}

/// A Pod spec with these containers.
pub fn spec(containers: Vec<Value>) -> Value {
    json!({
        "volumes": [{
            "name": "kube-api-access-7k2xq",
            "projected": {
                "sources": [
                    { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                    { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                ],
                "defaultMode": 420,
            },
        }],
        "containers": containers,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "securityContext": { "runAsNonRoot": true },
        "schedulerName": "default-scheduler",
        "tolerations": [
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
        ],
        "priority": 0,
        "enableServiceLinks": true,
        "preemptionPolicy": "PreemptLowerPriority",
    })
}

/// A Pod with one container, `app`, of `image`.
pub fn pod(image: &str) -> Value {
    pod_of(spec(vec![container("app", image)]))
}

/// A Pod with this spec.
pub fn pod_of(spec: Value) -> Value {
    object("v1", "Pod", spec, json!({ "phase": "Pending", "qosClass": "Burstable" }))
}

/// A Pod with one container and further fields in its spec, each a list that is added to.
pub fn pod_with(image: &str, lists: &[(&str, Value)]) -> Value {
    let mut spec = spec(vec![container("app", image)]);
    for (name, entry) in lists {
        match spec[*name].as_array_mut() {
            Some(list) => list.push(entry.clone()),
            None => spec[*name] = json!([entry]),
        }
    }
    pod_of(spec)
}

/// A volume whose files are those of an image.
pub fn image_volume(name: &str, image: &str) -> Value {
    json!({ "name": name, "image": { "reference": image, "pullPolicy": "IfNotPresent" } })
}

/// A workload of this kind whose template has one container, `app`, of `image`.
pub fn workload(kind: &str, image: &str) -> Value {
    let (group, version, ..) = KINDS.into_iter().find(|(_, _, known, _)| *known == kind).expect("a known kind");
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut pod = spec(vec![container("app", image)]);
    if group == "batch" {
        pod["restartPolicy"] = "Never".into();
    }
    let labels = json!({ "app": "cicd" });
    let template = json!({ "metadata": { "creationTimestamp": null, "labels": labels }, "spec": pod });
    let spec = match kind {
        "CronJob" => json!({
            "schedule": "0 3 * * *", "concurrencyPolicy": "Allow", "suspend": false,
            "jobTemplate": { "metadata": { "creationTimestamp": null }, "spec": { "template": template } },
        }),
        "Job" => json!({ "parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template }),
        "ReplicationController" => json!({ "replicas": 1, "selector": labels, "template": template }),
        _ => json!({ "replicas": 1, "selector": { "matchLabels": labels }, "template": template }),
    };
    object(&api_version, kind, spec, json!({}))
}

/// The JSON pointer of the first container's image.
pub fn image_pointer(kind: &str) -> &'static str {
    match kind {
        "Pod" => "/spec/containers/0/image",
        "CronJob" => "/spec/jobTemplate/spec/template/spec/containers/0/image",
        _ => "/spec/template/spec/containers/0/image",
    }
}

/// `object` with a label more.
pub fn labelled(mut object: Value, name: &str, value: &str) -> Value {
    object["metadata"]["labels"][name] = value.into();
    object
}

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {
            "name": "cicd-6d5f7c9b4-x2x7k",
            "generateName": "cicd-6d5f7c9b4-",
            "namespace": "default",
            "uid": "3c1f2b7e-5d8a-4f0e-9b64-7a1d2e3f4c5b",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": { "app": "cicd", "pod-template-hash": "6d5f7c9b4" },
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration":
                    "{\"spec\":{\"containers\":[{\"image\":\"docker.io/library/busybox\",\"name\":\"app\"}]}}\n",
            },
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": api_version,
                "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": { ".": {}, "f:image": {}, "f:name": {} } } } },
            }],
        },
        "spec": spec,
        "status": status,
    })
}
