//! Plots as SVG, by hand: lines over axes, and bars.
//!
//! White ground and named colours, so that they look the same in light and dark pages. Coordinates
//! are rounded to a tenth of a pixel, which keeps the files small and the same everywhere.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;
/// Distinct for the colour-blind too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7"];
const DASHES: [&str; 6] = ["none", "6 3", "2 3", "none", "8 3 2 3", "none"];

/// One axis: its name, its range and where it has marks.
pub(crate) struct Axis<'a> {
    pub(crate) name: &'a str,
    pub(crate) marks: Vec<(f64, String)>,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) logarithmic: bool,
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Axis<'_> {
    /// From 0 to 1 along the axis.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        ((scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from))).clamp(0.0, 1.0)
    }
}

/// Lines of several series.
pub(crate) fn lines(title: &str, across: &Axis<'_>, up: &Axis<'_>, series: &[Series]) -> String {
    let mut svg = open(title);
    grid(&mut svg, up);
    for (at, name) in &across.marks {
        let x = x(across.place(*at));
        let bottom = HEIGHT - BOTTOM;
        line(&mut svg, (x, TOP), (x, bottom), "#dddddd");
        text(&mut svg, (x, bottom + 18.0), "middle", name);
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    text(&mut svg, (middle, HEIGHT - 14.0), "middle", across.name);
    for (index, one) in series.iter().enumerate() {
        let mut path = String::new();
        for (at, (right, high)) in one.points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(across.place(*right)), y(up.place(*high)));
        }
        let (colour, dash) = (COLOURS[index % COLOURS.len()], DASHES[index % DASHES.len()]);
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let _ = writeln!(svg, "<path d=\"{path}\" {style}/>");
        let high = TOP + 10.0 + index as f64 * 20.0;
        let (from, to) = (WIDTH - RIGHT + 12.0, WIDTH - RIGHT + 40.0);
        let _ = writeln!(svg, "<path d=\"M{from:.1} {high:.1}L{to:.1} {high:.1}\" {style}/>");
        text(&mut svg, (to + 6.0, high + 4.0), "start", &one.name);
    }
    close(svg)
}

/// Groups of bars: one group a name, one bar a series.
pub(crate) fn bars(title: &str, up: &Axis<'_>, groups: &[String], series: &[(&str, Vec<f64>)]) -> String {
    let mut svg = open(title);
    grid(&mut svg, up);
    let room = (WIDTH - LEFT - RIGHT) / groups.len() as f64;
    let width = room * 0.8 / series.len() as f64;
    for (index, name) in groups.iter().enumerate() {
        let left = LEFT + room * (index as f64 + 0.1);
        text(&mut svg, (left + room * 0.4, HEIGHT - BOTTOM + 18.0), "middle", name);
        for (bar, (_, values)) in series.iter().enumerate() {
            let (top, bottom) = (y(up.place(values[index])), HEIGHT - BOTTOM);
            let (at, colour) = (left + width * bar as f64, COLOURS[bar + 2]);
            let size = format!("width=\"{:.1}\" height=\"{:.1}\"", width - 2.0, bottom - top);
            let _ = writeln!(svg, "<rect x=\"{at:.1}\" y=\"{top:.1}\" {size} fill=\"{colour}\"/>");
            text(&mut svg, (at + width / 2.0, top - 5.0), "middle", &format!("{:.0}", values[index]));
        }
    }
    for (bar, (name, _)) in series.iter().enumerate() {
        let high = TOP + 10.0 + bar as f64 * 20.0;
        let (at, colour) = (WIDTH - RIGHT + 12.0, COLOURS[bar + 2]);
        let _ =
            writeln!(svg, "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"14\" height=\"12\" fill=\"{colour}\"/>", high - 6.0);
        text(&mut svg, (at + 20.0, high + 4.0), "start", name);
    }
    close(svg)
}

fn open(title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (LEFT, 22.0), "start", title);
    svg
}

fn close(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, up: &Axis<'_>) {
    let right = WIDTH - RIGHT;
    for (at, name) in &up.marks {
        let y = y(up.place(*at));
        line(svg, (LEFT, y), (right, y), "#dddddd");
        text(svg, (LEFT - 8.0, y + 4.0), "end", name);
    }
    line(svg, (LEFT, HEIGHT - BOTTOM), (right, HEIGHT - BOTTOM), "#333333");
    line(svg, (LEFT, TOP), (LEFT, HEIGHT - BOTTOM), "#333333");
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let turned = format!("text-anchor=\"middle\" transform=\"translate(18 {middle:.1}) rotate(-90)\"");
    let _ = writeln!(svg, "<text {turned}>{}</text>", up.name);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let path = format!("M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1);
    let _ = writeln!(svg, "<path d=\"{path}\" stroke=\"{colour}\"/>");
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, what: &str) {
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{what}</text>", at.0, at.1);
}

fn x(place: f64) -> f64 {
    LEFT + place * (WIDTH - RIGHT - LEFT)
}

fn y(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)
}
