package simulator

import "banyan/internal/quantity"

// Quantities as scenarios write them.
type (
	Duration  = quantity.Duration
	Percent   = quantity.Percent
	Size      = quantity.Size
	Bandwidth = quantity.Bandwidth
)
