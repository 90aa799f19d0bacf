// Package scale measures what breaks first when a fleet grows.
package scale
