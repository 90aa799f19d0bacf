package world

import "errors"

// ErrInvalid is wrapped by errors in the description of a simulation: a matrix, a model, a
// fault, a scenario or a range of sizes that is not possible.
var ErrInvalid = errors.New("invalid simulation")
