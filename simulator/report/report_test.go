package report

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"banyan/simulator/compare"
	"banyan/simulator/measure"
	"banyan/simulator/scenario"
)

// sample is a report with something in every part.
func sample(t *testing.T) *Document {
	t.Helper()
	s, err := scenario.Parse([]byte(`
name: sample
about: Everything that a report can show & <b>escapes</b>
duration: 30s
fleet: {agents: 400, regions: 4, fanout: 8}
network: {loss: 1%, jitter: 1%, link: 1Gbps}
traffic: [{at: 1s, config: a, every: 3s, count: 3}, {at: 12s, config: a, rollback: true}]
faults: [{at: 4s, for: 5s, kind: crash, target: 'zone:dallas/1'}]
rollouts: [{at: 20s, config: b, waves: [5%, 100%], bake: 2s, maxFailures: 1%, refusing: 30%}]
assert: [missed == 0, p99 < 1us]
`), "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := s.Config()
	if err != nil {
		t.Fatal(err)
	}
	strategies, err := compare.Strategies(cfg, compare.Options{Poll: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &Document{Report: *r, Strategies: strategies}
}

func TestAReportShowsEveryPartAndNeedsNothingElse(t *testing.T) {
	r := sample(t)
	var page, again bytes.Buffer
	if err := Write(&page, r); err != nil {
		t.Fatal(err)
	}
	if err := Write(&again, r); err != nil || !bytes.Equal(page.Bytes(), again.Bytes()) {
		t.Errorf("two writes differ (%v)", err)
	}
	text := page.String()
	for _, want := range []string{"sample", "What it needs", "How fast", "Coverage against", "Time to each region", "Region by percentile",
		"Bytes by role", "Strategies on the same fleet", "Rollouts", "does not hold", "frankfurt", "gossip", "crash zone:dallas/1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<b>escapes</b>") {
		t.Error("text of a scenario is not escaped")
	}
	if found := regexp.MustCompile(`(?i)(https?:)?//[a-z]|<script|NaN|Inf|%!`).FindString(text); found != "" {
		t.Errorf("the page holds %q", found)
	}
}

func TestASweepIsShown(t *testing.T) {
	rows := []measure.SweepRow{{Nodes: 1000, Fanout: 8, P99: 90, Best: true}, {Nodes: 1000, Fanout: 16, P99: 95}, {Nodes: 9000, Fanout: 8, P99: 99}}
	var page bytes.Buffer
	if err := WriteSweep(&page, rows); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, "fan-out 16") || !strings.Contains(text, "best") || !strings.Contains(text, "9,000") {
		t.Error("the sweep is not shown")
	}
}

func TestAnEmptyReportIsAPageToo(t *testing.T) {
	if err := Write(new(bytes.Buffer), &Document{}); err != nil {
		t.Fatal(err)
	}
}

// A real browser lays the page out: every drawing has a size, nothing is wider
// than the page, and no text of a drawing lies outside of it.
func TestABrowserShowsThePage(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on this machine; CI installs it")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	var page bytes.Buffer
	if err := Write(&page, sample(t)); err != nil {
		t.Fatal(err)
	}
	const probe = `<script>addEventListener("load", () => {
let bad = [], n = 0;
for (const svg of document.querySelectorAll("svg")) {
  n++; const box = svg.getBoundingClientRect();
  if (box.width < 300 || box.height < 40) bad.push("drawing " + svg.ariaLabel + " is " + box.width + "x" + box.height);
  for (const t of svg.querySelectorAll("text")) { const b = t.getBoundingClientRect();
    if (b.left < box.left - 1 || b.right > box.right + 1) bad.push("text " + t.textContent + " of " + svg.ariaLabel + " lies outside"); }
}
if (document.documentElement.scrollWidth > innerWidth) bad.push("the page is wider than the window");
document.title = "CHECKED " + n + " " + bad.join("; ");
});</script></body>`
	html := strings.Replace(page.String(), "</body>", probe, 1)
	if err := os.WriteFile(file, []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--window-size=1000,3000", "--dump-dom", "file://"+file).Output()
	if err != nil {
		t.Fatal(err)
	}
	title := regexp.MustCompile(`<title>CHECKED (\d+) ([^<]*)</title>`).FindSubmatch(out)
	if title == nil {
		t.Fatalf("the page did not load: %d bytes", len(out))
	}
	if n, _ := strconv.Atoi(string(title[1])); string(title[2]) != "" || n < 8 {
		t.Errorf("%s drawings; %s", title[1], title[2])
	}
}
