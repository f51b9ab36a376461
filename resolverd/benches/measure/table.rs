//! The table: what was measured, against what, and what was wanted. Never measures.

use std::fmt::Write as _;

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is.
    pub(crate) name: String,
    /// The figure, one value per run.
    pub(crate) values: Vec<f64>,
    /// The baseline of the same runs; empty where the figure stands for itself.
    pub(crate) baselines: Vec<f64>,
    /// In which unit both are.
    pub(crate) unit: &'static str,
    /// What is wanted of the ratio.
    pub(crate) goal: Goal,
}

/// What is wanted of a row: must, and ambitious.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// The ratio is at least so much.
    AtLeast(f64, f64),
    /// The ratio is at most so much.
    AtMost(f64, f64),
    /// The figure is zero.
    Zero,
    /// Nothing: the row explains others.
    None,
}

/// Returns the middle one of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values.len() {
        0 | 1 => "one run".to_owned(),
        _ => format!("{}–{}", number(low), number(high)),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

impl Row {
    /// Returns the ratio of every run; the figures themselves where there is no baseline.
    fn ratios(&self) -> Vec<f64> {
        match self.baselines.is_empty() {
            true => self.values.clone(),
            false => {
                self.values.iter().zip(&self.baselines).map(|(one, base)| one / base.max(1e-12)).collect()
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let ratios = self.ratios();
        let ratio = median(&ratios);
        let with_unit = |values: &[f64]| match values.is_empty() {
            true => "–".to_owned(),
            false => format!("{} {}", number(median(values)), self.unit).trim().to_owned(),
        };
        let (goal, verdict) = match self.goal {
            Goal::AtLeast(must, more) => {
                (format!("≥ {} ({})", number(must), number(more)), said(ratio >= must, ratio >= more))
            }
            Goal::AtMost(must, more) => {
                (format!("≤ {} ({})", number(must), number(more)), said(ratio <= must, ratio <= more))
            }
            Goal::Zero => ("0".to_owned(), said(ratio == 0.0, ratio == 0.0)),
            Goal::None => ("–".to_owned(), "–"),
        };
        let shown = if self.baselines.is_empty() { "–".to_owned() } else { format!("{ratio:.2}") };
        [
            self.name.clone(),
            with_unit(&self.values),
            with_unit(&self.baselines),
            shown,
            spread(&ratios),
            goal,
            verdict.to_owned(),
        ]
    }
}

fn said(is_reached: bool, is_ambitious: bool) -> &'static str {
    match (is_reached, is_ambitious) {
        (_, true) => "ambitious",
        (true, false) => "must",
        (false, false) => "missed",
    }
}

const HEADS: [&str; 7] = ["figure", "measured", "baseline", "ratio", "spread", "must (ambitious)", "reached"];

/// Prints the rows as aligned text.
pub(crate) fn text(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> =
        std::iter::once(HEADS.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            let padding = width(column) - cell.chars().count();
            let _ = write!(out, "{cell}{}", " ".repeat(if column < 6 { padding + 2 } else { 0 }));
        }
        out.push('\n');
    }
    out
}

/// Prints the rows as a Markdown table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut out = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.cells().join(" | "));
    }
    out
}
