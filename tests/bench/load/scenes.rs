//! What is measured.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    client::{Admission, Connection, closed_loop, open_loop, validate_all},
    http2,
    pod::review,
    registry::{Format, Remote},
    report::{Report, Target, median},
    webhook::{Setup, example_policies, memory, program, registry_arguments},
};

/// What every scene needs.
pub struct Stage<'a> {
    /// A directory of the run's own.
    pub dir: &'a Path,
    /// The registry.
    pub registry: &'a mut Remote,
    /// The table.
    pub report: &'a mut Report,
}

/// Connections of the load.
const CONNECTIONS: usize = 16;
/// What a request to the registry takes in the cold scenes.
const DELAY: Duration = Duration::from_millis(30);

impl Stage<'_> {
    fn setup(&self, https: bool, other_policies: usize) -> Setup<'_> {
        Setup { dir: self.dir, registry: self.registry, https, other_policies }
    }

    /// One image with its digest for every connection.
    fn warm_load(&mut self, tag: &str) -> Vec<Admission> {
        let digests = self.registry.push(Format::Legacy, "zionsworking/warm", tag, CONNECTIONS);
        let images = digests.iter().map(|digest| format!("ghcr.io/zionsworking/warm:1.0.0@{digest}"));
        images.map(|image| Admission::new(&review(&[&image]))).collect()
    }
}

/// Size, start and `apply`.
pub fn start(stage: &mut Stage<'_>) {
    Report::section("Start");
    let size = fs::metadata(program()).expect("the program").len();
    stage.report.figure("release binary", size as f64 / 1e6, "MB", Target::Below(25.0));
    let starts = (0..5).map(|_| stage.setup(true, 0).start().ready_after.as_secs_f64() * 1e3).collect();
    stage.report.figure("from start to ready, median of 5", median(starts), "ms", Target::Below(100.0));
    let ready = stage.setup(true, 10_000).start().ready_after;
    stage.report.figure("the same with 10,000 policies", ready.as_secs_f64() * 1e3, "ms", Target::None);

    stage.registry.delay(Duration::ZERO);
    stage.registry.push(Format::Legacy, "zionsworking/apply", "1.0", 1);
    let resource = stage.dir.join("pod.json");
    let pod: serde_json::Value = serde_json::from_str(&review(&["ghcr.io/zionsworking/apply:1.0-0"])).expect("JSON");
    fs::write(&resource, pod["request"]["object"].to_string()).expect("a writable directory");
    for (https, what) in [(true, "apply on one Pod, HTTPS and tokens"), (false, "apply on one Pod, plain HTTP")] {
        let times: Vec<_> = (0..5).map(|_| apply(stage, &resource, https, |_| ())).collect();
        stage.report.figure(&format!("{what}, median of 5"), median(times), "ms", Target::Below(75.0));
        // Its memory in a run of its own, for looking takes time, too.
        let mut peak: f64 = 0.0;
        apply(stage, &resource, https, |pid| peak = peak.max(memory(pid, "VmHWM").unwrap_or_default()));
        stage.report.figure("its resident memory at most", peak, "MiB", Target::Below(25.0));
    }
}

/// Milliseconds that `bonafide apply` takes.
fn apply(stage: &Stage<'_>, resource: &Path, https: bool, mut look: impl FnMut(u32)) -> f64 {
    let started = Instant::now();
    let mut child = Command::new(program())
        .arg("apply")
        .args(&example_policies()[..1])
        .arg("--resource")
        .arg(resource)
        .args(registry_arguments(stage.registry, https))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bonafide starts");
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        look(child.id());
        std::thread::sleep(Duration::from_micros(200));
    };
    assert!(status.success(), "bonafide apply admits the Pod");
    started.elapsed().as_secs_f64() * 1e3
}

/// Every digest verified before, as fast as it goes, beside few and many other policies.
pub fn warm(stage: &mut Stage<'_>) {
    let admissions = stage.warm_load("warm");
    for others in [0, 1_000, 10_000] {
        Report::section(&format!("Warm by digest, 16 connections, closed loop, {others} other policies"));
        let webhook = stage.setup(false, others).start();
        closed_loop(&webhook, &admissions, CONNECTIONS, Duration::from_secs(1));
        let cpu = webhook.cpu_ms();
        let run = closed_loop(&webhook, &admissions, CONNECTIONS, Duration::from_secs(4));
        let cpu = (webhook.cpu_ms() - cpu) / run.admissions as f64;
        stage.report.figure("admissions a second", run.rate(), "/s", Target::AtLeast(5_300.0));
        stage.report.figure("CPU of an admission", cpu, "ms", Target::Below(0.2));
        stage.report.figure("a call, p50", run.latencies.ms(0.5), "ms", Target::None);
        stage.report.figure("a call, p99", run.latencies.ms(0.99), "ms", Target::None);
        stage.report.figure("resident memory at most", webhook.peak_mib(), "MiB", Target::None);
    }
}

/// Every digest verified before, at a fixed rate.
pub fn steady(stage: &mut Stage<'_>) {
    Report::section("Warm by digest, open loop, 1,000 admissions a second");
    let admissions = stage.warm_load("steady");
    let webhook = stage.setup(false, 0).start();
    closed_loop(&webhook, &admissions, CONNECTIONS, Duration::from_secs(1));
    let cpu = webhook.cpu_ms();
    let connections = u32::try_from(CONNECTIONS).expect("few");
    let run = open_loop(&webhook, &admissions, 1_000, connections, Duration::from_secs(10));
    let cpu = (webhook.cpu_ms() - cpu) / run.admissions as f64;
    stage.report.figure("a call, p50", run.latencies.ms(0.5), "ms", Target::None);
    stage.report.figure("a call, p99", run.latencies.ms(0.99), "ms", Target::Below(1.0));
    stage.report.figure("a call, p99.9", run.latencies.ms(0.999), "ms", Target::None);
    stage.report.figure("CPU of an admission", cpu, "ms", Target::Below(0.2));
}

/// The same load as `warm` on one connection of HTTP/2.
pub fn http2(stage: &mut Stage<'_>) {
    Report::section("Warm by digest, HTTP/2, 16 streams of one connection, closed loop");
    let digests = stage.registry.push(Format::Legacy, "zionsworking/warm", "h2", 1);
    let body = review(&[&format!("ghcr.io/zionsworking/warm:1.0.0@{}", digests[0])]);
    let webhook = stage.setup(false, 0).start();
    http2::closed_loop(&webhook, &body, CONNECTIONS, Duration::from_millis(500));
    let run = http2::closed_loop(&webhook, &body, CONNECTIONS, Duration::from_secs(3));
    stage.report.figure("admissions a second", run.rate(), "/s", Target::None);
    stage.report.figure("a call, p50", run.latencies.ms(0.5), "ms", Target::None);
    stage.report.figure("a call, p99", run.latencies.ms(0.99), "ms", Target::None);
}

/// By tag, nothing known of the image, on a registry that takes its time.
pub fn cold(stage: &mut Stage<'_>) {
    for format in [Format::Legacy, Format::Bundle] {
        Report::section(&format!("Cold by tag, {format:?}, HTTPS, bearer tokens, 30 ms a request"));
        let repository = format!("zionsworking/cold-{format:?}").to_lowercase();
        let digests = stage.registry.push(format, &repository, "1", 32);
        let image = |at: usize| Image { tagged: format!("ghcr.io/{repository}:1-{at}"), digest: &digests[at] };
        stage.registry.delay(DELAY);
        stage.registry.requests();
        let webhook = stage.setup(true, 0).start();
        let mut connection = Connection::open(&webhook);

        let first = timed(&mut connection, &[image(0)]);
        let (requests, kinds) = stage.registry.requests();
        stage.report.figure("the very first", first, "ms", Target::None);
        stage.report.figure("its sequential round trips", (first / ms(DELAY)).floor(), "", Target::None);
        stage.report.figure("its requests", requests as f64, "", Target::None);
        Report::remark(&format!("{kinds}; one round trip is refused for want of a token, one gets the token"));
        let second: Vec<_> = (1..6).map(|at| timed(&mut connection, &[image(at)])).collect();
        let (requests, kinds) = stage.registry.requests();
        let one = median(second);
        stage.report.figure("with connection and token, median of 5", one, "ms", Target::None);
        stage.report.figure("its sequential round trips", (one / ms(DELAY)).floor(), "", Target::AtMost(4.0));
        stage.report.figure("its requests", requests as f64 / 5.0, "", Target::None);
        Report::remark(&format!("of all five: {kinds}"));
        let same: Vec<_> = (0..8).map(|_| image(6)).collect();
        let same = timed(&mut connection, &same);
        let (requests, _) = stage.registry.requests();
        stage.report.figure("8 containers of one image", same, "ms", Target::None);
        stage.report.figure("its requests", requests as f64, "", Target::None);
        let different: Vec<_> = (7..15).map(image).collect();
        let different = timed(&mut connection, &different);
        let (requests, _) = stage.registry.requests();
        stage.report.figure("8 different images", different, "ms", Target::None);
        stage.report.figure("8 different images, ratio to one", different / one, "x", Target::Below(1.3));
        stage.report.figure("its requests", requests as f64, "", Target::None);
        drop(webhook);
        cold_cpu(stage, format);
    }
}

struct Image<'a> {
    tagged: String,
    digest: &'a str,
}

/// Milliseconds of the mutating call by tag and the validating one of what it was patched to.
fn timed(connection: &mut Connection, images: &[Image<'_>]) -> f64 {
    let before: Vec<_> = images.iter().map(|image| image.tagged.as_str()).collect();
    let after: Vec<_> = images.iter().map(|image| format!("{}@{}", image.tagged, image.digest)).collect();
    let after: Vec<_> = after.iter().map(String::as_str).collect();
    let admission = Admission::patched(&review(&before), &review(&after));
    let started = Instant::now();
    connection.admit(&admission);
    ms(started.elapsed())
}

/// CPU of a cold admission, over many of them without delay.
fn cold_cpu(stage: &mut Stage<'_>, format: Format) {
    const COUNT: usize = 300;
    let repository = format!("zionsworking/cpu-{format:?}").to_lowercase();
    let digests = stage.registry.push(format, &repository, "1", COUNT);
    stage.registry.delay(Duration::ZERO);
    let image = |at: usize| Image { tagged: format!("ghcr.io/{repository}:1-{at}"), digest: &digests[at] };
    let webhook = stage.setup(true, 0).start();
    let mut connection = Connection::open(&webhook);
    timed(&mut connection, &[image(0)]);
    let cpu = webhook.cpu_ms();
    let times: Vec<_> = (1..COUNT).map(|at| timed(&mut connection, &[image(at)])).collect();
    let cpu = (webhook.cpu_ms() - cpu) / (COUNT - 1) as f64;
    let target = match format {
        Format::Legacy => 3.0,
        Format::Bundle => 5.0,
    };
    stage.report.figure("CPU of one", cpu, "ms", Target::Below(target));
    stage.report.figure("time of one without the delay, median", median(times), "ms", Target::None);
}

/// Resident memory, idle and with many digests in the cache.
pub fn resident(stage: &mut Stage<'_>) {
    const COUNT: usize = 10_000;
    Report::section("Memory");
    let webhook = stage.setup(true, 0).start();
    std::thread::sleep(Duration::from_secs(1));
    stage.report.figure("idle", webhook.rss_mib(), "MiB", Target::Below(25.0));
    drop(webhook);
    let digests = stage.registry.push(Format::Legacy, "zionsworking/many", "1", COUNT);
    let images = digests.iter().map(|digest| format!("ghcr.io/zionsworking/many@{digest}"));
    let admissions: Vec<_> = images.map(|image| Admission::new(&review(&[&image]))).collect();
    let webhook = stage.setup(false, 0).start();
    let run = validate_all(&webhook, &admissions, CONNECTIONS);
    std::thread::sleep(Duration::from_secs(1));
    stage.report.figure("with 10,000 digests in the cache", webhook.rss_mib(), "MiB", Target::Below(60.0));
    stage.report.figure("at most on the way there", webhook.peak_mib(), "MiB", Target::None);
    let entries = webhook.metric("bonafide_verdict_cache_entries");
    stage.report.figure("verdicts in the cache, two for each digest", entries, "", Target::AtLeast(20_000.0));
    let rate = COUNT as f64 / run.elapsed.as_secs_f64();
    stage.report.figure("cold by digest, plain HTTP without delay", rate, "/s", Target::None);
    closed_loop(&webhook, &admissions, CONNECTIONS, Duration::from_secs(3));
    stage.report.figure("after 3 s of full load on all of them", webhook.rss_mib(), "MiB", Target::Below(60.0));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
