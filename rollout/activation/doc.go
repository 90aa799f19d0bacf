// Package activation remembers which versions of a config ran in a region, and how they ended.
//
// Entry points: [Log.Moved] for each move of a pointer; [Log.Before] for the version to go back
// to; [Log.Ran] for the versions worth keeping.
//
// A log is a value. The caller stores the log in the transaction that moves the pointer, so that
// the log and the pointer never disagree.
//
// A version ran well if the whole region ran it and a newer version replaced it. A version that a
// gate or a person took back is bad: it is never the default of a rollback. A version that is
// brought live again starts with a clean record.
//
// A log is bounded: it keeps the newest versions that ran well and, apart from them, the newest
// bad ones. A row of failed rollouts evicts no version that ran well.
package activation
