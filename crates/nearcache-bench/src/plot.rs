//! Hit ratio over cache size, a panel for every trace, as SVG that reads well on light and dark pages.

use std::fmt::Write;

/// A line: a policy's name, and its hit ratios (0 to 1) at the panel's sizes.
#[derive(Clone, Debug)]
pub struct Line {
    /// One of [`STYLES`].
    pub policy: &'static str,
    /// In the order of the panel's sizes.
    pub ratios: Vec<f64>,
}

/// One trace's part of the picture.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The trace's name.
    pub title: String,
    /// Capacities in entries, rising.
    pub sizes: Vec<u64>,
    /// What is drawn, the last on top.
    pub lines: Vec<Line>,
}

/// The policies that are drawn: name, label, colour, width, dashes. The last is on top.
pub const STYLES: [(&str, &str, &str, f64, &str); 6] = [
    ("opt", "OPT (bound)", "#8b949e", 1.2, "4 3"),
    ("lru", "LRU", "#8b949e", 1.6, "none"),
    ("moka", "moka", "#3fa266", 1.2, "none"),
    ("quick_cache", "quick_cache", "#8f6fd1", 1.2, "none"),
    ("foyer-s3fifo", "foyer s3fifo", "#d08b28", 1.2, "none"),
    ("adaptive", "nearcache", "#2f7de1", 2.8, "none"),
];

const COLUMNS: usize = 2;
const PANEL: (f64, f64) = (440.0, 230.0);
/// Around a panel's axes: left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (48.0, 30.0, 14.0, 40.0);
const HEAD: f64 = 40.0;

/// Draws the panels, two a row, with one legend above.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a few panels
pub fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS) as f64;
    let (width, height) = (PANEL.0 * COLUMNS as f64, HEAD + PANEL.1 * rows);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>Hit ratio over cache size</title>\n\
         <style>text {{ fill: #57606a }} .axis {{ stroke: #8b949e; stroke-opacity: .35 }} .name {{ font-weight: 600 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #adb5bd }} }}</style>\n"
    );
    legend(&mut text);
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = (
            (number % COLUMNS) as f64 * PANEL.0,
            HEAD + (number / COLUMNS) as f64 * PANEL.1,
        );
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        draw(&mut text, panel);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

fn legend(text: &mut String) {
    let mut x = MARGIN.0;
    for (_, label, colour, width, dashes) in STYLES.iter().rev() {
        let _ = writeln!(
            text,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"20\" y2=\"20\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"24\">{label}</text>",
            x + 24.0,
            x + 30.0
        );
        x += 135.0;
    }
}

/// Where a panel's points lie.
struct Scale {
    first: f64,
    last: f64,
    top: f64,
}

impl Scale {
    #[allow(clippy::cast_precision_loss)] // pixels
    fn of(panel: &Panel) -> Self {
        let log = |size: Option<&u64>| size.map_or(0.0, |&size| (size as f64).ln());
        let highest = panel
            .lines
            .iter()
            .flat_map(|line| &line.ratios)
            .fold(0.0_f64, |a, &b| a.max(b));
        Self {
            first: log(panel.sizes.first()),
            last: log(panel.sizes.last()),
            // A full tenth above the highest point.
            top: ((highest * 10.0).ceil() / 10.0).max(0.1),
        }
    }

    #[allow(clippy::cast_precision_loss)] // pixels
    fn x(&self, size: u64) -> f64 {
        let part = ((size as f64).ln() - self.first) / (self.last - self.first).max(f64::MIN_POSITIVE);
        MARGIN.0 + part * (PANEL.0 - MARGIN.0 - MARGIN.2)
    }

    fn y(&self, ratio: f64) -> f64 {
        PANEL.1 - MARGIN.3 - ratio / self.top * (PANEL.1 - MARGIN.1 - MARGIN.3)
    }
}

fn draw(text: &mut String, panel: &Panel) {
    let scale = Scale::of(panel);
    let _ = writeln!(
        text,
        "<text class=\"name\" x=\"{}\" y=\"18\">{}</text>",
        MARGIN.0, panel.title
    );
    for part in [0.0, 0.5, 1.0] {
        let (ratio, right) = (scale.top * part, PANEL.0 - MARGIN.2);
        let y = scale.y(ratio);
        let _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            MARGIN.0,
            MARGIN.0 - 6.0,
            y + 4.0,
            100.0 * ratio
        );
    }
    let bottom = PANEL.1 - MARGIN.3;
    let ends = [(panel.sizes.first(), "start"), (panel.sizes.last(), "end")];
    for (size, anchor) in ends
        .into_iter()
        .filter_map(|(size, anchor)| Some((*size?, anchor)))
    {
        let x = scale.x(size);
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{size}</text>",
            bottom + 17.0
        );
    }
    let middle = f64::midpoint(MARGIN.0, PANEL.0 - MARGIN.2);
    let _ = writeln!(
        text,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">entries (logarithmic)</text>",
        bottom + 17.0
    );
    for (policy, _, colour, width, dashes) in STYLES {
        for line in panel.lines.iter().filter(|line| line.policy == policy) {
            let points = panel.sizes.iter().zip(&line.ratios);
            let points: Vec<_> = points
                .map(|(&size, &ratio)| format!("{:.1},{:.1}", scale.x(size), scale.y(ratio)))
                .collect();
            let _ = writeln!(
                text,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
                 stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\"/>",
                points.join(" ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_drawn_within_its_panel() {
        let line = |(policy, ..): (&'static str, &str, &str, f64, &str)| Line {
            policy,
            ratios: vec![0.0, 0.5, 0.93],
        };
        let panel = Panel {
            title: "t".into(),
            sizes: vec![50, 500, 5_000],
            lines: STYLES.map(line).to_vec(),
        };
        let scale = Scale::of(&panel);
        assert!((scale.top - 1.0).abs() < 1e-9);
        assert!(scale.x(5_000) <= PANEL.0 && scale.y(1.0) >= 0.0 && scale.y(0.0) <= PANEL.1);
        let text = svg(&[panel.clone(), panel]);
        assert_eq!(text.matches("<polyline").count(), 2 * STYLES.len());
    }
}
