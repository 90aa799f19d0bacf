package emulated

import (
	"sync"
	"time"
)

// courier is a goroutine that looks for packets that are due whenever the next one is,
// or it is roused.
type courier struct {
	wake chan struct{}
	done sync.WaitGroup
}

// start begins. look hands on what is due and says how long nothing will be, or that
// it is over.
func (c *courier) start(look func() (wait time.Duration, over bool)) {
	c.wake = make(chan struct{}, 1)
	c.done.Go(func() {
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		for {
			wait, over := look()
			if over {
				return
			}
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-c.wake:
			}
		}
	})
}

func (c *courier) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// end waits until the courier has seen that it is over.
func (c *courier) end() {
	c.rouse()
	c.done.Wait()
}
