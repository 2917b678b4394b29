//! Figures, and the lines that they are printed in.

use crate::Result;

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn line(name: &str, unit: &str, ours: f64, theirs: f64, target: &str) {
    println!(
        "{:<44} {:>12} {:>12} {:>7.2}  {target}",
        format!("{name} ({unit})"),
        figure(ours),
        figure(theirs),
        ours / theirs
    );
}

pub(crate) fn alone(name: &str, unit: &str, ours: f64, target: &str) {
    println!(
        "{:<44} {:>12} {:>12} {:>7}  {target}",
        format!("{name} ({unit})"),
        figure(ours),
        "-",
        "-"
    );
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

pub(crate) fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(what.to_owned().into())
    }
}
