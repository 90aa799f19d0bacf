package step

import "time"

// Time is a moment on the driver's clock, in nanoseconds since an origin that the
// driver chooses. Only differences between moments have a meaning.
type Time int64

// Add returns the moment d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Never is later than any moment.
const Never = Time(1<<63 - 1)

// PeerID identifies one link to another node. The driver gives each new link a new
// PeerID, so that a message meant for a lost link can't reach the link's successor.
type PeerID uint64
