package fleet

import "context"

// process is a coordinator or an agent while it runs.
type process struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when Run has returned
}

// end ends the process and waits for the end.
func (p *process) end() {
	p.cancel()
	<-p.ended
}

// coordinatorProcess is the process of a coordinator. It keeps the addresses of the coordinator,
// which are lost when the coordinator closes its sockets.
type coordinatorProcess struct {
	*process
	mesh string
	api  string
}
