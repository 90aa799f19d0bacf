// Package scale measures what breaks first when a fleet grows: the scales at which an early build
// stalled, refused, or forgot something. [Run] measures all of them, each in this process, most of them
// on the state machines alone: what a node or a controller needs at a scale does not depend on
// sockets and disks. [Rollouts] and [Restart] use a real store, [Rollouts] a whole leader, and [Updates] real
// agents.
package scale
