package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// pages returns the Markdown pages of the repository, relative to root.
func pages(t *testing.T) []string {
	return files(t, ".md")
}

// files returns the files with an extension, relative to root, without those that are
// installed or built.
func files(t *testing.T, extension string) []string {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == "bin" || name != ".." && strings.HasPrefix(name, ".") && path != root) {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == extension {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found = append(found, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found %d files with %s", len(found), extension)
	}
	return found
}

func read(t *testing.T, path string) string {
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]*))?\)`)
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInID  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	metric   = regexp.MustCompile(`banyan_[a-z]+_[a-z_]+`)
	testName = regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Z][A-Za-z0-9]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)[A-Z]\w*)\(`)
)

// anchors returns the anchors of the headings of a page, as GitHub makes them.
func anchors(page string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		id := notInID.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(id, " ", "-"))
	}
	return all
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		text := fence.ReplaceAllString(read(t, page), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor := m[1], m[2]
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, target)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s links to %s#%s: the page has no such heading", page, path, anchor)
			}
		}
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	operations := read(t, "docs/operations.md")
	inCode := map[string]bool{}
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, name := range metric.FindAllString(read(t, file), -1) {
			inCode[name] = true
		}
	}
	if len(inCode) < 20 {
		t.Fatalf("found %d metrics in the code", len(inCode))
	}
	documented := map[string]bool{}
	for _, name := range metric.FindAllString(operations, -1) {
		documented[name] = true
	}
	for name := range inCode {
		if !documented[name] {
			t.Errorf("docs/operations.md does not document the metric %s", name)
		}
	}
	for name := range documented {
		if !inCode[name] {
			t.Errorf("docs/operations.md documents the metric %s, which no code writes", name)
		}
	}
}

func TestEveryTestThatAPageNamesExists(t *testing.T) {
	exists := map[string]bool{}
	for _, file := range files(t, ".go") {
		for _, m := range testFunc.FindAllStringSubmatch(read(t, file), -1) {
			exists[m[1]] = true
		}
	}
	for _, page := range pages(t) {
		for _, m := range testName.FindAllStringSubmatch(read(t, page), -1) {
			if !exists[m[1]] {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}
