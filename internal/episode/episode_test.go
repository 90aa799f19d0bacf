package episode

import (
	"log/slog"
	"testing"
)

func TestTruthTheFirstFailureOfAnEpisodeIsLogged(t *testing.T) {
	var s Set[int]
	s.End(1)
	for range 2 {
		if got := s.Level(1, slog.LevelWarn); got != slog.LevelWarn {
			t.Errorf("first failure: %s", got)
		}
		if got := s.Level(1, slog.LevelWarn); got != slog.LevelDebug {
			t.Errorf("second failure: %s", got)
		}
		if got := s.Level(2, slog.LevelError); got != slog.LevelError {
			t.Errorf("failure of another kind: %s", got)
		}
		s.End(1)
		s.End(2)
	}
	for i := range 2 * MaxOpen {
		s.Level(i, slog.LevelWarn)
	}
	if len(s.open) != MaxOpen {
		t.Errorf("%d episodes are open", len(s.open))
	}
}
