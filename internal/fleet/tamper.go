package fleet

import (
	"banyan/agent"
	"banyan/record"
	"banyan/transport"
)

// tamperer serves the bodies of an agent, and changes every shard.
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

// tamperWith returns a wrapper that puts a tamperer before the bodies of an agent.
func tamperWith(change func(shard []byte)) agent.Wrapper {
	return func(h transport.Handlers) transport.Handlers {
		h.Bodies = tamperer{h.Bodies, change}
		return h
	}
}
