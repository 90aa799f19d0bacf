package emulated

import (
	"math/rand/v2"
	"time"
)

// shaper decides what a link does to packets. It is not safe for concurrent use.
type shaper struct {
	link   Link
	rand   *rand.Rand
	freeAt time.Time // when the packets waiting for Rate will have been sent
	downAt time.Time // when the packets waiting for DownRate will have been received
	stats  Stats
}

func newShaper(link Link) shaper {
	if link.ReorderBy == 0 {
		link.ReorderBy = 20 * time.Millisecond
	}
	if link.Queue == 0 {
		link.Queue = 200 * time.Millisecond
	}
	return shaper{link: link, rand: rand.New(rand.NewPCG(link.Seed, 0x6c696e6b))}
}

// copies returns the number of leaving copies of a packet: usually 1.
func (s *shaper) copies() int {
	switch roll := s.rand.Float64(); {
	case roll < s.link.Loss:
		s.stats.Lost++
		return 0
	case roll < s.link.Loss+s.link.Duplicate:
		s.stats.Doubled++
		return 2
	}
	return 1
}

// depart returns the time at which a packet that leaves now arrives at the receiver's link. ok
// is false if the packet is dropped because the queue is full.
func (s *shaper) depart(now time.Time, size int) (arrival time.Time, ok bool) {
	arrival = now
	if s.link.Rate > 0 {
		arrival, ok = occupy(&s.freeAt, now, size, s.link.Rate, s.link.Queue)
		if !ok {
			s.stats.Dropped++
			return arrival, false
		}
	}
	arrival = arrival.Add(s.link.Delay)
	if s.link.Jitter > 0 {
		arrival = arrival.Add(time.Duration(s.rand.Int64N(int64(s.link.Jitter))))
	}
	if s.link.Reorder > 0 && s.rand.Float64() < s.link.Reorder {
		s.stats.Reordered++
		arrival = arrival.Add(time.Duration(s.rand.Int64N(int64(s.link.ReorderBy))))
	}
	s.stats.Sent++
	s.stats.Bytes += uint64(size)
	return arrival, true
}

// arrive returns the time at which a packet that arrives at the receiver's link has been
// received. ok is false if the packet is dropped because the queue is full.
func (s *shaper) arrive(at time.Time, size int) (in time.Time, ok bool) {
	if s.link.DownRate <= 0 {
		return at, true
	}
	in, ok = occupy(&s.downAt, at, size, s.link.DownRate, s.link.Queue)
	if !ok {
		s.stats.Dropped++
	}
	return in, ok
}

// occupy adds a packet of size bytes to a line of bps bits a second. free is the time at which
// the line has carried all packets; occupy moves free. ok is false if the packet would wait
// longer than queue.
func occupy(free *time.Time, now time.Time, size int, bps float64, queue time.Duration) (done time.Time, ok bool) {
	if free.Before(now) {
		*free = now
	}
	if free.Sub(now) > queue {
		return *free, false
	}
	*free = free.Add(time.Duration(float64(size) * 8 / bps * float64(time.Second)))
	return *free, true
}
