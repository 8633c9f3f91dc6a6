//! `bonafide apply`

use std::{collections::BTreeMap, io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Status,
    args::{RegistryArgs, TrustArgs, duration},
    files, paint,
};
use crate::{
    admission::{ExtractError, Phase, Subject},
    decision::{Class, Decision, Denial, printable},
    pipeline::{Engine, Settings, Snapshot, admit},
};

/// Decide on manifests as the webhook would, without a cluster.
///
/// Every resource goes through the same six steps as in a cluster: Pods have their tags pinned and are then
/// validated, the templates of workloads are validated. The last line counts outcomes, one for each pair of
/// a resource and a policy that covers an image in it.
#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    /// Policy files, or folders with policy files directly in them
    #[arg(required = true, value_name = "POLICY")]
    policies: Vec<PathBuf>,
    /// A file with the resources to decide on (YAML or JSON), `-` for standard input
    #[arg(short, long, required = true, value_name = "FILE")]
    resource: Vec<PathBuf>,
    /// Also print what passed, with who signed
    #[arg(long)]
    detailed_results: bool,
    /// Time for one resource: 1m, 90s, or a number of seconds
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// The webhook's time-out where nothing else is set, for policies that ask for another.
const WEBHOOK_TIMEOUT_S: u32 = 10;

/// The counts of the last line.
#[derive(Default)]
struct Tally {
    pass: usize,
    fail: usize,
    warn: usize,
    error: usize,
    skip: usize,
}

/// One object of the resource files.
struct Resource {
    group: String,
    kind: String,
    name: String,
    namespace: String,
    object: Value,
}

pub(super) async fn run(args: ApplyArgs) -> anyhow::Result<Status> {
    let trust = files::trust_root(args.trust.trusted_root.as_deref())?;
    let files::Read { policies, notes } = files::policies(&args.policies, &trust, WEBHOOK_TIMEOUT_S)?;
    let resources = read_resources(&args.resource)?;
    if policies.is_empty() {
        bail!("there is no policy in force in these files: nothing would be checked");
    }
    for note in notes {
        anstream::eprintln!("{}: {note}", paint::unsure("note"));
    }
    println!(
        "Applying {} to {}\n",
        count(policies.len(), "policy", "policies"),
        count(resources.len(), "resource", "resources")
    );
    let caps = args.registry.caps();
    let source = args.registry.source()?;
    let engine = Engine::new(Snapshot { policies, trust: trust.into() }, source, Settings::with_caps(caps));
    let mut tally = Tally::default();
    let mut uncovered = Vec::new();
    for resource in &resources {
        let deadline = Instant::now() + args.timeout;
        match decide(&engine, resource, deadline).await? {
            Some(decision) => {
                report(resource, &decision, args.detailed_results, &mut tally);
                uncovered.extend(decision.uncovered);
            }
            None => tally.skip += 1,
        }
    }
    print_uncovered(uncovered);
    if tally.pass + tally.fail + tally.warn + tally.error == 0 {
        println!("nothing was checked: no policy covers an image of these resources");
    }
    println!(
        "\npass: {}, fail: {}, warn: {}, error: {}, skip: {}",
        tally.pass, tally.fail, tally.warn, tally.error, tally.skip
    );
    Ok(match tally {
        Tally { fail: 1.., .. } => Status::Denied,
        Tally { error: 1.., .. } => Status::Unknown,
        _ => Status::Ok,
    })
}

/// What the webhook would decide, `None` for an object without a Pod in it.
async fn decide(engine: &Arc<Engine>, resource: &Resource, deadline: Instant) -> anyhow::Result<Option<Decision>> {
    let read = |object: &Value| Subject::read(&resource.group, &resource.kind, &object.to_string(), None);
    let namespace = Some(resource.namespace.as_str());
    let subject = match read(&resource.object) {
        Ok(subject) => subject,
        Err(ExtractError::Kind { .. }) => return Ok(None),
        // What the webhook answers: the others are still looked at.
        Err(error) => {
            let denial = Denial::of_object(Class::Invalid, "ObjectUnreadable", error.to_string());
            return Ok(Some(Decision { denials: vec![denial], ..Decision::default() }));
        }
    };
    let mutated = admit(engine, &subject, namespace, Phase::Mutate, deadline).await;
    let mut object = resource.object.clone();
    for pin in &mutated.pins {
        if let Some(field) = object.pointer_mut(&pin.pointer) {
            *field = Value::from(pin.to.as_str());
        }
    }
    let subject = read(&object).with_context(|| resource.to_string())?;
    let mut decision = admit(engine, &subject, namespace, Phase::Validate, deadline).await;
    decision.pins = mutated.pins;
    Ok(Some(decision))
}

fn report(resource: &Resource, decision: &Decision, detailed: bool, tally: &mut Tally) {
    let mut outcomes: BTreeMap<&str, Class> = BTreeMap::new();
    for denial in &decision.denials {
        let word = if denial.class == Class::Unknown { paint::unsure("error") } else { paint::bad("fail") };
        anstream::println!("{word}  {resource}\n      {denial}");
        let worst = outcomes.entry(&denial.policy).or_insert(denial.class);
        if denial.class != Class::Unknown {
            *worst = denial.class;
        }
    }
    let errors = outcomes.values().filter(|class| **class == Class::Unknown).count();
    tally.error += errors;
    tally.fail += outcomes.len() - errors;
    for warning in decision.warnings.iter().cloned().chain(decision.audited.iter().map(ToString::to_string)) {
        anstream::println!("{}  {resource}\n      {warning}", paint::unsure("warn"));
    }
    tally.warn += decision.failed.iter().filter(|policy| !outcomes.contains_key(policy.as_str())).count();
    for policy in &decision.passed {
        tally.pass += 1;
        if detailed || decision.allowed() {
            anstream::println!("{}  {resource}: policy {policy}", paint::good("pass"));
        }
    }
    if detailed {
        for vouched in &decision.vouched {
            anstream::println!(
                "      {}",
                paint::faint(&format!("{}: {}", vouched.image, printable(&vouched.signer.to_string())))
            );
        }
    }
    if decision.allowed() {
        for pin in &decision.pins {
            anstream::println!("      {} -> {}", paint::faint(&pin.from), pin.to);
        }
    }
    if decision.covered == 0 && decision.denials.is_empty() {
        tally.skip += 1;
    }
}

/// What the policies leave open, said where a user could think otherwise.
fn print_uncovered(mut uncovered: Vec<String>) {
    uncovered.sort_unstable();
    uncovered.dedup();
    if !uncovered.is_empty() {
        anstream::println!(
            "{}  covered by no policy, and so admitted whether signed or not: {}\n      a policy with `fallback: true` denies these",
            paint::unsure("open"),
            uncovered.join(", ")
        );
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn read_resources(paths: &[PathBuf]) -> anyhow::Result<Vec<Resource>> {
    let mut resources = Vec::new();
    for path in paths {
        let name = path.display();
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            text
        } else {
            files::read_text(path)?
        };
        let before = resources.len();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{name} is not valid YAML"))?;
        for document in documents {
            add_resource(document, &mut resources).with_context(|| format!("{name}"))?;
        }
        if resources.len() == before {
            bail!("{name} holds no resource");
        }
    }
    Ok(resources)
}

fn add_resource(mut object: Value, resources: &mut Vec<Resource>) -> anyhow::Result<()> {
    if object.is_null() {
        return Ok(());
    }
    let text = |object: &Value, pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text(&object, "/apiVersion"), text(&object, "/kind")) else {
        bail!("a document has no apiVersion and kind");
    };
    if kind.ends_with("List")
        && let Some(Value::Array(items)) = object.get_mut("items").map(Value::take)
    {
        return items.into_iter().try_for_each(|item| add_resource(item, resources));
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let name = text(&object, "/metadata/name").or_else(|| text(&object, "/metadata/generateName")).unwrap_or_default();
    let namespace = text(&object, "/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    resources.push(Resource { group, kind, name, namespace, object });
    Ok(())
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}
