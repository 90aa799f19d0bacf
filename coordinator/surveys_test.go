package coordinator

import (
	"testing"

	"banyan/mesh/wire"
)

// A host can send answers to a survey that nobody began, or that has ended.
func TestAnswersToNoSurveyAreDropped(t *testing.T) {
	s := newSurveys(nil)
	unasked := &wire.Holdings{Region: "eu", Held: []wire.Holding{{Agent: 1, Name: "a", Whole: true}}}
	s.hear(unasked)
	s.begin()
	s.end()
	s.hear(unasked)
	if len(s.holders) != 0 || s.answers != 0 {
		t.Errorf("%d answers count", s.answers)
	}
}
