//! Stories 8 and 9: every field that names an image, in Pods and in templates; and every spelling.

use serde_json::json;

use super::{assert_admitted, assert_admitted_as, assert_denied, example};
use crate::rig::{Review, Webhook, World, object, policy};

#[tokio::test]
async fn story_8_init_containers_and_image_volumes() {
    let (world, webhook) = example().await;
    let good = world.image("1.0.0");
    for (list, site, pointer) in [
        ("initContainers", "init container \"other\"", "/spec/initContainers/0/image"),
        ("containers", "container \"other\"", "/spec/containers/1/image"),
        ("volumes", "image volume \"other\"", "/spec/volumes/1/image/reference"),
    ] {
        let entry = |image: &str| match list {
            "volumes" => object::image_volume("other", image),
            _ => object::container("other", image),
        };
        let admission = webhook.admit(object::pod_with(&good, &[(list, entry(&world.image("2.0.0")))])).await;
        assert_admitted_as(&admission, &world.pinned("1.0.0"));
        assert_eq!(admission.field(pointer), world.pinned("2.0.0"));
        // One good and one bad: the bad one is named, the good one is not.
        let admission = webhook.admit(object::pod_with(&good, &[(list, entry(&world.image("unsigned")))])).await;
        assert_denied(&admission, "SignatureMissing", &[site, ":unsigned", &world.digest("unsigned")]);
        assert!(!admission.message().contains("\"app\""), "{}", admission.message());
        assert!(!admission.message().contains(":1.0.0"), "{}", admission.message());
    }
}

#[tokio::test]
async fn story_8_ephemeral_containers() {
    let (world, webhook) = example().await;
    let running = object::pod(&world.pinned("1.0.0"));
    let debugging = |image: &str| {
        let mut pod = running.clone();
        pod["spec"]["ephemeralContainers"] = json!([object::container("debug", image)]);
        Review::update(pod, running.clone()).sub_resource("ephemeralcontainers")
    };
    let admission = webhook.admit(debugging(&world.image("2.0.0"))).await;
    assert_admitted(&admission);
    let pinned = vec![("/spec/ephemeralContainers/0/image".to_owned(), world.pinned("2.0.0"))];
    assert_eq!(admission.mutated.replaced(), pinned);
    let admission = webhook.admit(debugging(&world.image("unsigned"))).await;
    assert_denied(&admission, "SignatureMissing", &["ephemeral container \"debug\""]);
}

#[tokio::test]
async fn story_8_every_bad_image_is_named() {
    let (world, webhook) = example().await;
    let image = |tag: &str| world.image(tag);
    let pod = object::pod_with(
        &image("unsigned"),
        &[
            ("containers", object::container("good", &image("1.0.0"))),
            ("containers", object::container("evil", &image("other-identity"))),
            ("initContainers", object::container("setup", &image("no-sbom"))),
        ],
    );
    let message = webhook.admit(pod).await.message().to_owned();
    for words in [
        ["container \"app\"", "SignatureMissing"],
        ["container \"evil\"", "SubjectMismatch"],
        ["init container \"setup\"", "AttestationMissing"],
    ] {
        let line = message.lines().find(|line| line.starts_with(words[0]));
        assert!(line.is_some_and(|line| line.contains(words[1])), "{words:?}: {message}");
    }
    assert!(!message.contains("\"good\""), "{message}");
}

#[tokio::test]
async fn story_9_templates_are_validated_and_left_as_they_are() {
    let (world, webhook) = example().await;
    for kind in object::workload_kinds() {
        let admission = webhook.admit(object::workload(kind, &world.image("1.0.0"))).await;
        assert_admitted(&admission);
        assert_eq!(admission.mutated.patch, None, "{kind}");
        assert_eq!(admission.field(object::image_pointer(kind)), world.image("1.0.0"));
        assert!(!admission.validated.vouched().is_empty(), "{kind} was not looked at");
        let admission = webhook.admit(object::workload(kind, &world.image("unsigned"))).await;
        assert_denied(&admission, "SignatureMissing", &["container \"app\""]);
        let admission = webhook.admit(object::workload(kind, &world.image("other-identity-legacy"))).await;
        assert_denied(&admission, "SubjectMismatch", &[policy::EXPECTED_SUBJECT]);
    }
}

#[tokio::test]
async fn an_image_id_escapes_no_policy() {
    let world = World::new();
    let hex = world.digest("1.0.0").replace("sha256:", "");
    // Also where the only policy is about quite another repository.
    let narrow = policy::image_policy("narrow", "Enforce", "ghcr.io/zionsworking/one-app", &[policy::SIGNATURE]);
    for policy in [policy::KYVERNO, &narrow, policy::DEFAULT_DENY] {
        let webhook = Webhook::start(&world, &[policy]).await;
        for id in [format!("sha256:{hex}"), hex.clone(), hex[..12].to_owned()] {
            let admission = webhook.admit(object::pod(&id)).await;
            assert_denied(&admission, "ImageIdNotAllowed", &["/spec/containers/0/image", "image ID"]);
            let admission = webhook.admit(object::workload("Deployment", &id)).await;
            assert_denied(&admission, "ImageIdNotAllowed", &["/spec/template/spec/containers/0/image"]);
        }
    }
}

#[tokio::test]
async fn no_spelling_escapes_a_policy() {
    let (world, webhook) = example().await;
    for host in ["ghcr.io", "GHCR.IO", "Ghcr.Io", "ghcr.io:443", "ghcr.io:0443", "GHCR.IO:00443"] {
        let image = |tag: &str| world.image(tag).replacen("ghcr.io", host, 1);
        let admission = webhook.admit(object::pod(&image("unsigned"))).await;
        assert_denied(&admission, "SignatureMissing", &["policy verify-images/", &world.digest("unsigned")]);
        let by_digest = world.by_digest("unsigned").replacen("ghcr.io", host, 1);
        assert_denied(&webhook.admit(object::pod(&by_digest)).await, "SignatureMissing", &[]);
        let admission = webhook.admit(object::pod(&image("1.0.0"))).await;
        assert_admitted_as(&admission, &world.pinned("1.0.0"));
    }
}

#[tokio::test]
async fn nor_does_one_of_docker_hub() {
    let world = World::new();
    let hub = policy::image_policy("hub", "Enforce", "docker.io/library/*", &[policy::SIGNATURE]);
    let webhook = Webhook::start(&world, &[&hub]).await;
    for image in [
        "nginx",
        "nginx:latest",
        "library/nginx",
        "docker.io/nginx",
        "DOCKER.IO/library/nginx",
        "index.docker.io/library/nginx",
        "registry-1.docker.io/library/nginx",
        "registry.hub.docker.com/library/nginx:latest",
        "docker.io:443/library/nginx",
    ] {
        let admission = webhook.admit(object::pod(image)).await;
        assert_denied(&admission, "SignatureMissing", &["policy hub"]);
    }
}

#[tokio::test]
async fn what_is_no_reference_is_denied_with_its_field() {
    let (_, webhook) = example().await;
    for image in [
        "",
        " ",
        "ghcr.io/zionsworking/app:",
        "ghcr.io/zionsworking/App",
        "ghcr.io/zionsworking/../app",
        "ghcr.io//app",
        "ghcr.io/zionsworking/app@sha256:abc",
        "ghcr.io/zionsworking/app@md5:0",
        "https://ghcr.io/zionsworking/app",
        "ghcr.io:99999/zionsworking/app",
        "ghcr.io/zionsworking/app:1.0.0\n",
        "ghcr.iо/zionsworking/app",
    ] {
        let admission = webhook.admit(object::pod(image)).await;
        assert_denied(&admission, "ImageReferenceInvalid", &["container \"app\"", "/spec/containers/0/image"]);
        let pod = object::pod_with("docker.io/library/nginx", &[("volumes", object::image_volume("data", image))]);
        let admission = webhook.admit(pod).await;
        assert_denied(
            &admission,
            "ImageReferenceInvalid",
            &["image volume \"data\"", "/spec/volumes/1/image/reference"],
        );
    }
}
