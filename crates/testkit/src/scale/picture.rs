//! What does a measurement look like?
//!
//! An SVG of two diagrams over the number of validators, written out by hand:
//! finality above, throughput below.

use std::fmt::Write as _;

use super::Measured;

/// Width of the picture, and height of each diagram with its title.
const PANEL: (f64, f64) = (680.0, 300.0);

/// Space around a diagram: left, right, above and below it.
const MARGINS: (f64, f64, f64, f64) = (80.0, 130.0, 50.0, 40.0);

/// A line of a diagram.
struct Line {
    name: &'static str,
    colour: &'static str,
    of: fn(&Measured) -> f64,
}

/// A diagram.
struct Diagram {
    title: &'static str,
    unit: &'static str,
    lines: [Line; 3],
}

const FINALITY: Diagram = Diagram {
    title: "Time to finality, simulated over eight regions",
    unit: "ms",
    lines: [
        Line {
            name: "transfer, p99",
            colour: "#d62728",
            of: |one| one.transfer_ms.1 as f64,
        },
        Line {
            name: "transfer, p50",
            colour: "#1f77b4",
            of: |one| one.transfer_ms.0 as f64,
        },
        Line {
            name: "block, p50",
            colour: "#2ca02c",
            of: |one| one.block_ms.0 as f64,
        },
    ],
};

const THROUGHPUT: Diagram = Diagram {
    title: "Throughput: no time is counted for a machine's own work",
    unit: "/s",
    lines: [
        Line {
            name: "transfers offered",
            colour: "#999999",
            of: |one| one.offered as f64,
        },
        Line {
            name: "transfers final",
            colour: "#1f77b4",
            of: |one| one.final_per_second,
        },
        Line {
            name: "blocks, tenfold",
            colour: "#2ca02c",
            of: |one| one.blocks_per_second * 10.0,
        },
    ],
};

/// A picture of the finality and the throughput over the number of validators.
pub fn picture(all: &[Measured]) -> String {
    let (width, height) = (PANEL.0, PANEL.1 * 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    draw(&mut svg, &FINALITY, all, 0.0);
    draw(&mut svg, &THROUGHPUT, all, PANEL.1);
    svg.push_str("</svg>\n");
    svg
}

/// The distance of the lines of a scale up to `top`, and its last.
fn ticks(top: f64) -> (u64, u64) {
    let top = top.max(1.0).ceil() as u64;
    let steps = [5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
    let step = steps.into_iter().find(|step| top / step < 6);
    let step = step.unwrap_or(10_000);
    (step, (top / step + 1) * step)
}

/// Where values of a diagram are in the picture.
struct Frame {
    above: f64,
    across: f64,
    step: u64,
    top: u64,
}

/// Where the diagrams end on the right.
const END: f64 = PANEL.0 - MARGINS.1;

impl Frame {
    fn new(diagram: &Diagram, all: &[Measured], above: f64) -> Self {
        let values = all
            .iter()
            .flat_map(|one| diagram.lines.iter().map(|line| (line.of)(one)));
        let (step, top) = ticks(values.fold(0.0, f64::max));
        Self {
            above,
            across: (END - MARGINS.0) / (all.len().max(2) - 1) as f64,
            step,
            top,
        }
    }

    fn place(&self, index: usize, value: f64) -> (f64, f64) {
        let (left, _, over, under) = MARGINS;
        let room = PANEL.1 - over - under;
        let y = self.above + PANEL.1 - under - room * value / self.top as f64;
        (left + self.across * index as f64, y)
    }
}

/// Draws a diagram whose upper end is at `above`.
fn draw(svg: &mut String, diagram: &Diagram, all: &[Measured], above: f64) {
    let frame = Frame::new(diagram, all, above);
    let left = MARGINS.0;
    // A string takes every write.
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"{}\" font-size=\"14\">{}</text>",
        above + 28.0,
        diagram.title
    );
    for tick in (0..=frame.top / frame.step).map(|number| number * frame.step) {
        let (x, y) = frame.place(0, tick as f64);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{y:.1}\" x2=\"{END}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick} {}</text>",
            x - 12.0,
            y + 4.0,
            diagram.unit
        );
    }
    for (index, one) in all.iter().enumerate() {
        let (x, y) = frame.place(index, 0.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} validators</text>",
            y + 20.0,
            one.validators
        );
    }
    draw_lines(svg, diagram, all, &frame);
}

fn draw_lines(svg: &mut String, diagram: &Diagram, all: &[Measured], frame: &Frame) {
    let mut names: Vec<(f64, &Line)> = Vec::new();
    for line in &diagram.lines {
        let values = all.iter().map(line.of).enumerate();
        let points: Vec<(f64, f64)> = values.map(|(at, value)| frame.place(at, value)).collect();
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let colour = line.colour;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        names.extend(points.last().map(|(_, y)| (*y, line)));
    }
    // Names stand beside the ends of their lines, and not on one another.
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut last = f64::NEG_INFINITY;
    for (y, line) in names {
        last = y.max(last + 14.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text>",
            END + 10.0,
            last + 4.0,
            line.colour,
            line.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_names_every_number() {
        let one = |validators| Measured {
            validators,
            offered: 1,
            final_per_second: 1.0,
            blocks_per_second: 1.0,
            block_ms: (200, 300),
            transfer_ms: (400, 900),
        };
        let svg = picture(&[one(4), one(100)]);
        assert!(svg.contains("4 validators") && svg.contains("100 validators"));
        assert!(svg.contains("1000 ms") && svg.ends_with("</svg>\n"));
    }
}
