// Package examples holds configs for trying Banyan: feature flags, alert rules, a web
// server's configuration, and a rollout plan. The demo publishes the configs.
package examples

import "embed"

// Files are the example files, by name.
//
//go:embed *.json *.yaml *.conf
var Files embed.FS
