//! `oci-client`, another reader of names and registries: where both read a thing, they have to read the same.

use bonafide::image::Reference;
use oci_client::{Client, client::ClientConfig, client::ClientProtocol, manifest::OciManifest, secrets::RegistryAuth};

use super::support::{Registry, registry};

/// What a name means to the other reader, with Docker Hub's aliases and the default port folded as ours does.
fn other(text: &str) -> Option<String> {
    let reference: oci_client::Reference = text.parse().ok()?;
    let registry = reference.registry().to_ascii_lowercase();
    let registry = registry.strip_suffix(":443").unwrap_or(&registry);
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let tag = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => format!(":{tag}"),
        (None, Some(_)) => String::new(),
        (None, None) => ":latest".to_owned(),
    };
    let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    Some(format!("{registry}/{}{tag}{digest}", reference.repository()))
}

/// A small generator of our own: the same names on every run.
struct Dice(u64);

impl Dice {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }
}

#[test]
fn names_mean_the_same_to_both() {
    const HEX: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let hosts = [
        "",
        "ghcr.io/",
        "GHCR.io/",
        "docker.io/",
        "index.docker.io/",
        "localhost/",
        "localhost:5000/",
        "a.b:443/",
        "a-b.c:80/",
        "127.0.0.1:5000/",
        "x/",
        "-a.b/",
        "a..b/",
    ];
    let paths = [
        "nginx",
        "library/nginx",
        "a/b",
        "a/b/c",
        "a.b/c_d",
        "a__b",
        "a-b--c",
        "A",
        "a//b",
        "a/",
        "_a",
        "a..b",
        "a1/2b",
    ];
    let tags = ["", ":1", ":latest", ":v1.2-3_4", ":", ":-a", ":a b", ":UPPER"];
    let digests = ["", HEX, "@sha256:00", "@", "@sha256"];
    let mut dice = Dice(1);
    let (mut both, mut stricter) = (0, 0);
    for _ in 0..20_000 {
        let text = [dice.pick(&hosts), dice.pick(&paths), dice.pick(&tags), dice.pick(&digests)].concat();
        match (text.parse::<Reference>(), other(&text)) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(ours.to_string(), theirs, "{text:?}");
                both += 1;
            }
            (Ok(ours), None) => panic!("{text:?} is {ours} to us, and nothing to them"),
            (Err(_), Some(_)) => stricter += 1,
            (Err(_), None) => {}
        }
    }
    assert!(both > 2_000 && stricter < both, "{both} read by both, {stricter} by them alone");
}

#[tokio::test]
async fn the_test_registry_serves_other_clients_too() {
    let registry = Registry::launch(registry::Options::default());
    let digest = registry.push_image("zionsworking/app", "1", b"x");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
    let image = format!("{}/zionsworking/app:1", registry.host()).parse().unwrap();
    let (manifest, found) = client.pull_manifest(&image, &RegistryAuth::Anonymous).await.unwrap();
    assert!(matches!(manifest, OciManifest::Image(image) if image.layers.len() == 1));
    assert_eq!(found, digest);
}
