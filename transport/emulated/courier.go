package emulated

import (
	"sync"
	"time"
)

// courier is a goroutine that delivers packets when they are due.
type courier struct {
	wake chan struct{}
	done sync.WaitGroup
}

// start starts the goroutine. look delivers the packets that are due and returns the time
// until the next one is due; over ends the goroutine. look is called again after that time,
// or after rouse.
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

// rouse makes the courier call look now.
func (c *courier) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// end waits for the end of the goroutine. Before, the caller must have made look return over.
func (c *courier) end() {
	c.rouse()
	c.done.Wait()
}
