package coordinator

import (
	"reflect"
	"testing"

	"banyan/mesh/wire"
	"banyan/rollout"
)

func TestStoredSizesAreReadBack(t *testing.T) {
	want := rollout.Size{Agents: 15, Audiences: []wire.Audience{{Subscriptions: "db", Agents: 4}}}
	got := storedSizes(map[string]rollout.Size{"eu": want})["eu"].size()
	if !reflect.DeepEqual(got, want) || got.Subscribers("db/main") != 15 || got.Subscribers("web") != 11 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
