package draft

// Limits of a check. A check that meets a limit refuses the draft.
const (
	// MaxSchema is the maximum size of the JSON Schema of a config, in bytes.
	MaxSchema = 256 << 10
	// MaxSchemaDepth is the largest depth of nesting in a parsed document.
	MaxSchemaDepth = 1000
	// MaxChecked is the largest parsed body of type JSON, in bytes.
	MaxChecked = 64 << 20
	// MaxCheckedTree is the largest parsed body of type YAML or TOML, in bytes. The parsers of
	// these types make a tree, which may need 130 times as much memory as the body.
	MaxCheckedTree = 4 << 20
	// MaxMemory is the most memory that the values of a parsed body may need, in bytes, by
	// the estimates below.
	MaxMemory = 256 << 20
	// maxNumber is the largest number of characters of a number, and the largest absolute
	// value of its exponent, in a document with a schema: schemas are checked with exact
	// fractions, and 1e999999999 as a fraction needs gigabytes.
	maxNumber = 1000
	// maxNarrowing is the largest number of steps in the search for an invalid part of a document
	// that is too large to be explained. Each step may look at every value.
	maxNarrowing = 16
	// maxReason is the largest length of a reason, in bytes. A reason may quote the document.
	maxReason = 2000
)

// Estimates of memory, in bytes.
const (
	valueMemory  = 64  // a number, text, or an item of a list
	keyMemory    = 64  // a key of an object
	objectMemory = 400 // an object with few keys
	errorMemory  = 256 // an invalid value, besides its location
	stepMemory   = 16  // a part of a location
)
