//! The stories, with what is expected of each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::page::{Case, Expected, Page};
use crate::rig::world::{HOST, REPOSITORY};
use crate::rig::{Format, Options, Review, Webhook, World, object, policy};
use crate::support::{Fault, On};

/// The parts.
pub struct Stage {
    pub world: World,
    /// With `policy/kyverno-verify-images.yaml`.
    pub webhook: Webhook,
    /// With `policy/verify-images.yaml`, which has to give the same verdicts.
    ours: Webhook,
    /// With `policy/default-deny.yaml` beside it.
    fallback: Webhook,
    /// Called with a time-out of one second.
    hurried: Webhook,
}

const HURRY: Duration = Duration::from_secs(1);
const NGINX: &str = "docker.io/library/nginx:latest";

impl Stage {
    /// Starts everything.
    pub async fn set() -> Self {
        let world = World::new();
        let webhook = Webhook::start(&world, &[policy::KYVERNO]).await;
        let ours = Webhook::start(&world, &[policy::OURS]).await;
        let fallback = Webhook::start(&world, &[policy::KYVERNO, policy::DEFAULT_DENY]).await;
        let hurried = Webhook::with(&world, &[policy::KYVERNO], Options::default().timeout(HURRY)).await;
        Self { world, webhook, ours, fallback, hurried }
    }

    /// Asks both languages, so that they cannot disagree unseen; the answer of the first one is shown.
    async fn ask(&self, case: &mut Case, label: &str, review: impl Into<Review>) {
        let review = review.into();
        case.add(label, self.webhook.admit(review.clone()).await);
        case.check("with policy/verify-images.yaml", &self.ours.admit(review).await);
    }

    /// A Pod with the image `tag`, once for each format of evidence.
    async fn both(&self, tag: &str, asked: &str, expected: Expected) -> Case {
        let mut case = Case::new(&format!(":{tag}  {asked}"), expected);
        for format in Format::ALL {
            self.ask(&mut case, label(format), object::pod(&self.world.image_in(format, tag))).await;
        }
        case
    }

    async fn one(&self, asked: &str, review: impl Into<Review>, expected: Expected) -> Case {
        let mut case = Case::new(asked, expected);
        self.ask(&mut case, "", review).await;
        case
    }
}

fn label(format: Format) -> &'static str {
    match format {
        Format::Bundle => "bundle",
        Format::Legacy => "legacy",
    }
}

/// Tells all of them.
pub async fn tell(stage: &Stage, page: &mut Page) {
    use Expected::{Admitted, Denied};
    let world = &stage.world;
    let image = |tag: &str| world.image(tag);

    page.story("A signed image with its SBOM, by tag, is admitted and pinned to its digest");
    page.case(stage.both("1.0.0", "signed, with a signed SPDX SBOM", Admitted).await);

    page.story("An unsigned image of the same repository is denied, however its name is spelt");
    let denied = Denied("SignatureMissing");
    page.case(stage.one(":unsigned  no signature, no SBOM", object::pod(&image("unsigned")), denied).await);
    let spelt = image("unsigned").replace(HOST, "GHCR.IO:0443");
    let asked = "GHCR.IO:0443/zionsworking/...:unsigned  another spelling";
    page.case(stage.one(asked, object::pod(&spelt), denied).await.brief());

    page.story("An image that no policy covers is denied by a default-deny policy, and by nothing else");
    let mut case = Case::new(&format!("{NGINX}  with policy/default-deny.yaml"), Denied("DeniedByPolicy"));
    case.add("", stage.fallback.admit(object::pod(NGINX)).await);
    page.case(case);
    page.case(stage.one(&format!("{NGINX}  without it"), object::pod(NGINX), Admitted).await);

    page.story("A signature by another identity is denied: found against expected");
    let denied = Denied("SubjectMismatch");
    page.case(stage.both("other-identity", "signed by zionsworking-evil", denied).await);

    page.story("Signed, but the SBOM is missing, somebody else's, or something else: denied");
    page.case(stage.both("no-sbom", "signed, nothing attested", Denied("AttestationMissing")).await);
    page.case(stage.both("sbom-by-other", "SBOM signed by zionsworking-evil", Denied("SubjectMismatch")).await);
    page.case(stage.both("other-type", "a SLSA provenance only", Denied("PredicateTypeMismatch")).await);

    page.story("The tag is moved to a rebuilt image: denied, for no signature covers the new digest");
    moved(stage, page).await;

    page.story("The registry is down, slow or refuses: denied as undecided, not as unsigned, until it is back");
    outage(stage, page).await;

    page.story("Init containers, ephemeral containers and image volumes are held to the same rule");
    fields(stage, page).await;

    page.story("The Pod template of every kind of workload is validated, and never patched");
    for (tag, asked, expected) in
        [("1.0.0", "signed", Admitted), ("unsigned", "no signature, no SBOM", Denied("SignatureMissing"))]
    {
        let mut case = Case::new(&format!(":{tag}  {asked}, in a template of each kind"), expected);
        for kind in object::workload_kinds() {
            stage.ask(&mut case, kind, object::workload(kind, &image(tag))).await;
        }
        page.case(case.first_reason());
    }
}

async fn moved(stage: &Stage, page: &mut Page) {
    let world = &stage.world;
    let pinned = Format::ALL.map(|format| world.pinned(&format!("moved{}", format.suffix())));
    page.case(stage.both("moved", "before", Expected::Admitted).await.brief());
    for format in Format::ALL {
        let tag = format!("moved{}", format.suffix());
        world.registry.push_image(REPOSITORY, &tag, format!("{tag}, rebuilt with something added").as_bytes());
    }
    page.case(stage.both("moved", "after", Expected::Denied("SignatureMissing")).await.first_reason());
    let mut case = Case::new("the old digest  whatever its tag points to now", Expected::Admitted);
    for (format, pinned) in Format::ALL.into_iter().zip(&pinned) {
        stage.ask(&mut case, label(format), object::pod(pinned)).await;
    }
    page.case(case.brief());
}

async fn outage(stage: &Stage, page: &mut Page) {
    let (world, registry) = (&stage.world, &stage.world.registry);
    // Another digest than that of the first story: what has passed is remembered, and survives an outage.
    let image = world.image("2.0.0");
    for (status, code) in [
        (401, "RegistryUnauthorized"),
        (403, "RegistryForbidden"),
        (429, "RegistryRateLimited"),
        (500, "RegistryError"),
    ] {
        registry.inject(On::All, Fault::Status(status));
        let asked = format!(":2.0.0  the registry answers {status}");
        page.case(stage.one(&asked, object::pod(&image), Expected::Undecided(code)).await);
        registry.heal();
    }
    registry.stop();
    let down = Expected::Undecided("RegistryUnreachable");
    page.case(stage.one(":2.0.0  the registry is down", object::pod(&image), down).await);
    let passed = object::pod(&world.pinned("1.0.0"));
    let asked = ":1.0.0@sha256:...  the registry is down, but this digest has passed before";
    page.case(stage.one(asked, passed, Expected::Admitted).await.brief());
    registry.restart();
    registry.inject(On::All, Fault::Hang);
    let mut case = Case::new(":2.0.0  no answer; each call has 1 s", Expected::Undecided("Timeout"));
    let admission = stage.hurried.admit(object::pod(&image)).await;
    let in_time = [&admission.mutated, &admission.validated].iter().all(|answer| answer.elapsed < HURRY);
    case.add("", admission);
    case.demand(in_time, "answered before the call timed out");
    page.case(case);
    registry.heal();
    page.case(stage.one(":2.0.0  the registry is back", object::pod(&image), Expected::Admitted).await.brief());
}

async fn fields(stage: &Stage, page: &mut Page) {
    let world = &stage.world;
    let (good, bad) = (world.image("1.0.0"), world.image("unsigned"));
    let denied = Expected::Denied("SignatureMissing");
    let debugging = |image: &str| {
        let before = object::pod(&world.pinned("1.0.0"));
        let mut after = before.clone();
        after["spec"]["ephemeralContainers"] = json!([object::container("debug", image)]);
        Review::update(after, before).sub_resource("ephemeralcontainers")
    };
    let with = |list: &str, entry: Value| Review::create(object::pod_with(&good, &[(list, entry)]));
    let second = with("containers", object::container("second", &bad));
    page.case(stage.one("one good container, one bad  only the bad one is named", second, denied).await.first_reason());
    for (asked, review) in [
        ("an init container", with("initContainers", object::container("setup", &bad))),
        ("an image volume", with("volumes", object::image_volume("model", &bad))),
        ("an ephemeral container  by pods/ephemeralcontainers", debugging(&bad)),
    ] {
        page.case(stage.one(asked, review, denied).await.first_reason());
    }
    let all = object::pod_with(
        &good,
        &[
            ("initContainers", object::container("setup", &good)),
            ("volumes", object::image_volume("model", &world.image("2.0.0"))),
        ],
    );
    page.case(stage.one("all of them signed  each is pinned", all, Expected::Admitted).await);
}
