package coordinator

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var routePattern = regexp.MustCompile(`"((?:GET|PUT|POST|DELETE) /v1/[^"]*)"`)

// docs/openapi.yaml describes the routes there are, all of them and no others.
func TestTheDescriptionOfTheAPIIsTrue(t *testing.T) {
	source, err := os.ReadFile("server.go")
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, m := range routePattern.FindAllStringSubmatch(string(source), -1) {
		routes = append(routes, m[1])
	}
	raw, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, methods := range document.Paths {
		for method := range methods {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if len(routes) == 0 || !slices.Equal(routes, described) {
		t.Errorf("the server has\n%s\nthe description has\n%s", strings.Join(routes, "\n"), strings.Join(described, "\n"))
	}
}
