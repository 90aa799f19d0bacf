// Package activation remembers which versions of a config ran in a region, and how they ended.
//
// Entry points: [Log.Moved] for each move of a pointer; [Log.Acknowledged] for what hosts say that
// they run; [Log.Before] for the version to go back to; [Log.Ran] for the versions worth keeping.
//
// A log is a value. The caller stores the log in the transaction that moves the pointer, so that
// the log and the pointer never disagree.
//
// A version ran well if it was live in the whole region, at least one host acknowledged that it
// runs the version, and nobody took the version back. The version that runs now may be one of them.
// A version that a gate or a person took back is bad. A rollback goes to no bad version, until the
// version has been brought live again: then only its newest time counts.
//
// A log has a limit for the versions that ran well, another for the bad ones, and a third for the
// rest. So a row of failed rollouts evicts no version that ran well.
package activation
