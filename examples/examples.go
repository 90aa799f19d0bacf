// Package examples holds configs that people recognise: feature flags, alert
// rules, a web server's configuration. The demo publishes them; so can you, with
// `banyan publish`.
package examples

import "embed"

// Files are the example configs, by name.
//
//go:embed *.json *.yaml *.conf
var Files embed.FS
