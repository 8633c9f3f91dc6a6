//! What is no AdmissionReview is refused with a reason, and never let in.

use std::time::Duration;

use serde_json::{Value, json};

use super::{example, example_with};
use crate::rig::{Options, Review, Webhook, object};
use crate::support::On;

async fn refused(webhook: &Webhook, body: impl Into<Vec<u8>>, status: u16, words: &[&str]) {
    let body = body.into();
    for path in ["/mutate", "/validate"] {
        let answer = webhook.post(path, body.clone()).await;
        assert_eq!(answer.http, status, "{path}: {}", answer.body);
        for word in words {
            assert!(answer.body.contains(word), "{path}: {word:?} is not in {}", answer.body);
        }
        assert!(!answer.allowed);
    }
}

/// A review with one thing about it changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut review = Review::create(object::pod("ghcr.io/zionsworking/app:1")).json();
    change(&mut review);
    review.to_string()
}

#[tokio::test]
async fn what_is_no_admission_review_is_a_400() {
    let (world, webhook) = example().await;
    for body in ["", "{", "null", "[]", "7", "\"review\"", "{\"a\":1}", "\u{0}", "apiVersion: admission.k8s.io/v1"] {
        refused(&webhook, body, 400, &["AdmissionReview"]).await;
    }
    refused(&webhook, vec![0xff, 0xfe, 0x00], 400, &["AdmissionReview"]).await;
    refused(&webhook, "[".repeat(100_000), 400, &[]).await;
    refused(&webhook, "{\"apiVersion\":".repeat(50_000), 400, &[]).await;
    refused(&webhook, changed(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")), 400, &["v1beta1"])
        .await;
    refused(&webhook, changed(|review| review["apiVersion"] = json!("admission.k8s.io/v2")), 400, &["v2"]).await;
    refused(&webhook, changed(|review| review["kind"] = json!("Pod")), 400, &["\"Pod\""]).await;
    refused(&webhook, object::pod("nginx").to_string(), 400, &["\"Pod\""]).await;
    assert_eq!(world.registry.count(On::All), 0);
}

#[tokio::test]
async fn a_review_without_its_parts_is_a_400() {
    let (_, webhook) = example().await;
    let without = |part: &str| {
        changed(|review| {
            review["request"].as_object_mut().unwrap().remove(part);
        })
    };
    refused(&webhook, changed(|review| review["request"] = Value::Null), 400, &["no request"]).await;
    for part in ["uid", "kind", "operation"] {
        refused(&webhook, without(part), 400, &[part]).await;
    }
    refused(&webhook, without("object"), 400, &["no request.object"]).await;
    refused(&webhook, changed(|review| review["request"]["object"] = Value::Null), 400, &["no request.object"]).await;
    refused(&webhook, changed(|review| review["request"]["uid"] = json!("")), 400, &["uid"]).await;
    refused(&webhook, changed(|review| review["request"]["uid"] = json!("x".repeat(1_000))), 400, &["uid"]).await;
    refused(&webhook, changed(|review| review["request"]["operation"] = json!("PATCH")), 400, &["PATCH"]).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413() {
    let mut options = Options::default();
    options.limits.body_bytes = 256 << 10;
    let (_, webhook) = example_with(options).await;
    let padded = |bytes: usize| {
        changed(|review| review["request"]["object"]["metadata"]["annotations"]["padding"] = json!("x".repeat(bytes)))
    };
    refused(&webhook, padded(300 << 10), 413, &["262144"]).await;
    refused(&webhook, vec![b' '; 1 << 20], 413, &["262144"]).await;
    // Below the limit it is a review like any other.
    let answer = webhook.post("/mutate", padded(200 << 10)).await;
    assert_eq!((answer.http, answer.allowed), (200, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_a_408() {
    let (_, webhook) = example_with(Options::default().timeout(Duration::from_secs(2))).await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let answer = webhook.post("/validate", reqwest::Body::wrap_stream(never)).await;
    assert_eq!((answer.http, answer.allowed), (408, false));
    assert!(answer.elapsed < Duration::from_secs(2));
}

#[tokio::test]
async fn an_object_that_is_not_of_its_kind_is_denied() {
    let (_, webhook) = example().await;
    for (object, words) in [
        (json!({"spec": 7}), "request.object is not a Pod"),
        (json!({"spec": {"containers": {}}}), "request.object is not a Pod"),
        (json!({"spec": {"containers": ["nginx"]}}), "request.object is not a Pod"),
        (json!([]), "request.object is not a Pod"),
        (json!("Pod"), "request.object is not a Pod"),
    ] {
        let body = changed(|review| review["request"]["object"] = object);
        let answer = webhook.post("/mutate", body.clone()).await;
        assert!(answer.allowed && answer.patch.is_none());
        let answer = webhook.post("/validate", body).await;
        assert_eq!((answer.allowed, answer.code.as_str()), (false, "ObjectUnreadable"), "{}", answer.body);
        assert!(answer.message.contains(words), "{}", answer.message);
    }
    // Keys twice: whoever else reads the object might read the other one.
    let twice = changed(|_| {}).replace(r#""image":"#, r#""image":"docker.io/library/nginx","image":"#);
    let answer = webhook.post("/validate", twice).await;
    assert_eq!((answer.allowed, answer.code.as_str()), (false, "ObjectUnreadable"), "{}", answer.body);
}

#[tokio::test]
async fn an_old_object_that_cannot_be_read_is_no_excuse() {
    let (_, webhook) = example().await;
    let body = changed(|review| {
        review["request"]["operation"] = json!("UPDATE");
        review["request"]["oldObject"] = json!({"spec": 7});
    });
    let answer = webhook.post("/validate", body).await;
    assert_eq!((answer.allowed, answer.code.as_str()), (false, "ObjectUnreadable"), "{}", answer.body);
    assert!(answer.message.contains("request.oldObject"), "{}", answer.message);
}

#[tokio::test]
async fn a_kind_without_a_pod_is_denied_with_what_it_is() {
    let (_, webhook) = example().await;
    let body = changed(|review| {
        review["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    });
    let answer = webhook.post("/validate", body).await;
    assert_eq!((answer.allowed, answer.code.as_str()), (false, "ObjectUnreadable"), "{}", answer.body);
    assert!(answer.message.contains("ConfigMap"), "{}", answer.message);
}

#[tokio::test]
async fn other_paths_and_methods_admit_nothing() {
    let (_, webhook) = example().await;
    let body = changed(|_| {});
    for path in ["/", "/admit", "/mutate/", "/validate/x", "/healthz", "/metrics"] {
        assert_eq!(webhook.post(path, body.clone()).await.http, 404, "{path}");
    }
    assert_eq!(webhook.health("/validate").await.0, 404);
}

#[tokio::test]
async fn a_long_denial_is_cut() {
    let (world, webhook) = example().await;
    let bad = world.image("unsigned");
    let more: Vec<_> = (0..200).map(|n| ("containers", object::container(&format!("app-{n}"), &bad))).collect();
    let answer = webhook.validate(object::pod_with(&bad, &more)).await;
    assert_eq!((answer.allowed, answer.code.as_str()), (false, "SignatureMissing"));
    assert!(answer.message.len() <= (16 << 10) + 64, "{}", answer.message.len());
}
