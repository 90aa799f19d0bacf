package fleet

import (
	"banyan/agent"
	"banyan/record"
	"banyan/transport"
)

// tamperer serves what an agent serves, but changes every shard.
type tamperer struct {
	transport.BodyServer
	change func(shard []byte)
}

// GetShard implements transport.BodyServer.
func (t tamperer) GetShard(key record.FormKey, n int, buf []byte) ([]byte, error) {
	shard, err := t.BodyServer.GetShard(key, n, buf)
	if err == nil {
		t.change(shard)
	}
	return shard, err
}

// wrappers returns the wrappers of agent i: a tamperer if the agent is to send poison.
func (f *Fleet) wrappers(i int) []agent.Wrapper {
	if f.Config.Tamper == nil {
		return nil
	}
	change := f.Config.Tamper(i)
	if change == nil {
		return nil
	}
	return []agent.Wrapper{func(h transport.Handlers) transport.Handlers {
		h.Bodies = tamperer{h.Bodies, change}
		return h
	}}
}
