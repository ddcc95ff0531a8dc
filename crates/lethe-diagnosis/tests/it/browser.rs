//! Opens a page in headless Chromium. The tests of `lethe` use this file too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Chromium, or nothing where the user said that there is none.
pub(crate) fn chromium() -> Option<PathBuf> {
    if std::env::var_os("LETHE_NO_BROWSER").is_some_and(|value| value == "1") {
        return None;
    }
    let named = std::env::var_os("LETHE_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || {
        std::env::split_paths(&path)
            .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)))
            .find(|file| file.is_file())
    };
    let found = named.or_else(in_path);
    assert!(
        found.is_some(),
        "no Chromium to open the page with: `apt-get update && apt-get install -y chromium`, name it in \
         LETHE_CHROMIUM, or set LETHE_NO_BROWSER=1 to leave these tests out"
    );
    found
}

/// Runs Chromium on a local page with a profile of its own.
pub(crate) fn browse(chromium: &Path, profile: &Path, page: &Path, more: &[String]) -> String {
    let mut command = Command::new(chromium);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    command.args([
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--virtual-time-budget=4000",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display())).args(more).arg(format!("file://{}", page.display()));
    let output = command.output().expect("Chromium runs");
    assert!(output.status.success(), "Chromium: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A harness page that shows the report in a frame of a given width and writes what it measures into its own title.
const HARNESS: &str = r#"<!doctype html><title>-</title><iframe style="border:0;width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, view = page.defaultView;
  const light = c => { const v = c.match(/[\d.]+/g).map(Number).map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  const paper = view.getComputedStyle(page.body).backgroundColor;
  const all = s => [...page.querySelectorAll(s)];
  const charts = all("svg[aria-label]").map(e => e.getBoundingClientRect());
  const letters = all("svg[aria-label] text").map(e => parseFloat(view.getComputedStyle(e).fontSize) * e.getScreenCTM().a);
  const cell = page.querySelector(".cell");
  if (cell) cell.focus();
  const said = all(".readout").filter(e => view.getComputedStyle(e).display != "none");
  const widths = all(".readout").map(e => { e.style.display = "inline"; const box = e.getBBox(); return box.x + box.width; });
  document.title = JSON.stringify({
    said: said.length, readout: Math.max(0, ...widths),
    paper: light(paper), charts: charts.length, empty: charts.filter(r => r.width < 100 || r.height < 60).length,
    lines: all("path.line").filter(e => e.getTotalLength() > 20).length, scroll: page.documentElement.scrollWidth,
    letters: Math.min(...letters), text: contrast(view.getComputedStyle(page.body).color, paper),
    muted: Math.min(...all(".answers p, .card p").map(e => contrast(view.getComputedStyle(e).color, view.getComputedStyle(e.closest(".card") || page.body).backgroundColor))),
    curves: Math.min(...all("g.series").map(e => contrast(view.getComputedStyle(e).color, paper))),
    pictures: all("img").filter(e => e.complete && e.naturalWidth > 0).length,
    named: all("svg[aria-label]").every(e => e.getAttribute("aria-label").length > 20),
  });
});
</script>"#;

/// What the harness sees of a page.
pub(crate) fn measured(chromium: &Path, scratch: &Path, page: &str, width: u32, dark: bool) -> serde_json::Value {
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let harness = scratch.join("harness.html");
    std::fs::write(&harness, HARNESS.replace("WIDTH", &width.to_string()).replace("PAGE", &quoted))
        .expect("a writable folder");
    let theme = format!("--blink-settings=preferredColorScheme={}", i32::from(!dark));
    let size = format!("--window-size={},1000", width + 100);
    let dom = browse(chromium, &scratch.join("profile"), &harness, &["--dump-dom".into(), theme, size]);
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
    serde_json::from_str(&title.replace("&quot;", "\"")).unwrap_or_else(|_| panic!("the harness did not run: {title}"))
}
