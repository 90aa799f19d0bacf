package ledger

import "banyan/rollout/activation"

// Act says who commits what, and why.
type Act struct {
	// By is the person who asked for the commit, or the rollout that went a step further.
	By  string
	Why string
	// What describes the commit for the journal, such as "rolled back to version 3". A commit
	// with an empty What is not in the journal: it only remembers how far something came.
	What string
	// Config is the config or the prefix that the commit is about; "" if it is about neither.
	Config string
	// Back is true if the moves take back the versions that the pointers name no longer.
	Back bool
	// Gate is true if a gate decided, and not the person.
	Gate bool
}

// who returns the person, or "gate".
func (a Act) who() string {
	if a.Gate {
		return activation.Gate
	}
	return a.By
}

func (a Act) cause() activation.Cause {
	return activation.Cause{By: a.who(), Why: a.Why, Back: a.Back}
}
