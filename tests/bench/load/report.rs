//! The table: what was measured beside what is to be reached.

use std::time::Duration;

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least so much.
    AtLeast(f64),
    /// Less than so much.
    Below(f64),
    /// At most so much.
    AtMost(f64),
    /// Nothing was promised: it is there to be looked at.
    None,
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::Below(bound) => value < bound,
            Self::AtMost(bound) => value <= bound,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Below(bound) => format!("< {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::None => String::new(),
        }
    }
}

/// Prints figures as they come, and counts those that miss their target.
#[derive(Default)]
pub struct Report {
    judged: usize,
    missed: usize,
}

impl Report {
    /// A heading.
    pub fn section(title: &str) {
        println!("\n{title}");
    }

    /// A figure.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, target: Target) {
        let verdict = match (target, target.is_met(value)) {
            (Target::None, _) => "",
            (_, true) => "ok",
            (_, false) => "MISS",
        };
        self.judged += usize::from(!verdict.is_empty());
        self.missed += usize::from(verdict == "MISS");
        let precision = if value.abs() < 10.0 { 3 } else { 1 };
        println!("  {what:<62} {value:>10.precision$} {unit:<5} {:>9}  {verdict}", target.text());
    }

    /// Text below a figure.
    pub fn remark(text: &str) {
        println!("      {text}");
    }

    /// The last line.
    pub fn finish(&self) {
        println!("\n{} of {} targets met", self.judged - self.missed, self.judged);
    }
}

/// Latencies of calls.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// From those of several connections.
    pub fn of(parts: impl IntoIterator<Item = Vec<Duration>>) -> Self {
        let mut all: Vec<_> = parts.into_iter().flatten().collect();
        all.sort_unstable();
        Self(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The latency in milliseconds that this share of the calls did not exceed.
    pub fn ms(&self, share: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        let at = (share * self.0.len() as f64).ceil() as usize;
        self.0[at.saturating_sub(1).min(last)].as_secs_f64() * 1e3
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
