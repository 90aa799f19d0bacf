package emulated

import (
	"math/rand/v2"
	"time"
)

// shaper decides what a link does to packets. It is not safe for use by several at once.
type shaper struct {
	link   Link
	rand   *rand.Rand
	freeAt time.Time // when the link has sent what waits for its rate
	downAt time.Time // when it has received what waits
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

// copies is how many of a packet that is written leave: usually one.
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

// depart is when a packet that leaves now arrives at the receiver's link, if it is not
// dropped because too much waits before it.
func (s *shaper) depart(now time.Time, size int) (arrival time.Time, ok bool) {
	arrival = now
	if s.link.Rate > 0 {
		if arrival, ok = occupy(&s.freeAt, now, size, s.link.Rate, s.link.Queue); !ok {
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

// arrive is when a packet that arrives at a time has come in, if it is not dropped.
func (s *shaper) arrive(at time.Time, size int) (in time.Time, ok bool) {
	if s.link.DownRate <= 0 {
		return at, true
	}
	if in, ok = occupy(&s.downAt, at, size, s.link.DownRate, s.link.Queue); !ok {
		s.stats.Dropped++
	}
	return in, ok
}

// occupy puts a packet on a line behind what waits there: free is when the line is.
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
