package emulated

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// networks are the two ways to emulate a link: each makes a pair of sockets.
var networks = map[string]func(t *testing.T, link Link) (a, b Socket){
	"wrapped": func(t *testing.T, link Link) (a, b Socket) {
		listen := func() Socket {
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			s := Wrap(conn, link)
			t.Cleanup(func() { s.Close() })
			return s
		}
		return listen(), listen()
	},
	"in memory": func(t *testing.T, link Link) (a, b Socket) {
		n := NewNetwork()
		t.Cleanup(func() { n.Close() })
		listen := func() Socket {
			s, err := n.Listen("127.0.0.1:0", link)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		return listen(), listen()
	},
}

// both runs a test on either.
func both(t *testing.T, link Link, fn func(t *testing.T, a, b Socket)) {
	for name, pair := range networks {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, link)
			fn(t, a, b)
		})
	}
}

// send writes numbered packets of a size.
func send(t *testing.T, from, to Socket, first, count, size int) {
	t.Helper()
	for i := range count {
		b := make([]byte, size)
		binary.BigEndian.PutUint32(b, uint32(first+i))
		if _, err := from.WriteTo(b, to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
}

// receive reads count packets of a size and returns their numbers.
func receive(t *testing.T, at Socket, count, size int) []uint32 {
	t.Helper()
	at.SetReadDeadline(time.Now().Add(30 * time.Second))
	numbers := make([]uint32, count)
	buf := make([]byte, 2*maxPacket)
	for i := range numbers {
		n, _, err := at.ReadFrom(buf)
		if err != nil || n != size {
			t.Fatalf("packet %d of %d: %d bytes, %v", i, count, n, err)
		}
		numbers[i] = binary.BigEndian.Uint32(buf)
	}
	return numbers
}

func TestAGoodLinkKeepsOrder(t *testing.T) {
	both(t, Link{Delay: 5 * time.Millisecond, Rate: 100e6, DownRate: 100e6}, func(t *testing.T, a, b Socket) {
		began := time.Now()
		send(t, a, b, 0, 100, 1200)
		for i, got := range receive(t, b, 100, 1200) {
			if got != uint32(i) {
				t.Fatalf("packet %d is number %d", i, got)
			}
		}
		if took := time.Since(began); took < 5*time.Millisecond {
			t.Errorf("arrived after %s, before the delay", took)
		}
	})
}

func TestBothRatesHold(t *testing.T) {
	const packets, size = 50, 1250 // half a megabit
	for name, link := range map[string]Link{"up": {Rate: 5e6}, "down": {DownRate: 5e6}} {
		t.Run(name, func(t *testing.T) {
			both(t, link, func(t *testing.T, a, b Socket) {
				for range 2 { // the second time nothing is on its way any more
					began := time.Now()
					send(t, a, b, 0, packets, size)
					receive(t, b, packets, size)
					if took := time.Since(began); took < 90*time.Millisecond {
						t.Errorf("100 ms worth of packets took %s", took)
					}
				}
			})
		})
	}
}

func TestAFullQueueDrops(t *testing.T) {
	both(t, Link{Rate: 1e6, Queue: 50 * time.Millisecond}, func(t *testing.T, a, b Socket) {
		send(t, a, b, 0, 40, 1250) // 10 ms each
		stats := a.Stats()
		if stats.Sent < 5 || stats.Dropped == 0 || stats.Sent+stats.Dropped != 40 {
			t.Fatalf("of 40 packets: %+v", stats)
		}
		receive(t, b, int(stats.Sent), 1250)
	})
}

func TestLossAndDoubling(t *testing.T) {
	both(t, Link{Loss: 0.2, Duplicate: 0.1, Seed: 1}, func(t *testing.T, a, b Socket) {
		const n = 2000
		came := uint64(0)
		for i := range n {
			send(t, a, b, i, 1, 100)
			if sent := a.Stats().Sent; i%100 == 99 { // no socket's buffer need hold them all
				receive(t, b, int(sent-came), 100)
				came = sent
			}
		}
		s := a.Stats()
		if s.Lost < n*15/100 || s.Lost > n*25/100 || s.Doubled < n*5/100 || s.Doubled > n*15/100 || s.Sent != n-s.Lost+s.Doubled {
			t.Errorf("of %d packets: %+v", n, s)
		}
	})
}

func TestReorderingMixes(t *testing.T) {
	both(t, Link{Reorder: 0.3, ReorderBy: 50 * time.Millisecond, Seed: 1}, func(t *testing.T, a, b Socket) {
		send(t, a, b, 0, 200, 100)
		mixed := 0
		for i, got := range receive(t, b, 200, 100) {
			if got != uint32(i) {
				mixed++
			}
		}
		if mixed == 0 || a.Stats().Reordered == 0 {
			t.Errorf("%d out of their place, %+v", mixed, a.Stats())
		}
	})
}

func TestACutSocketIsSilent(t *testing.T) {
	both(t, Link{Delay: time.Millisecond}, func(t *testing.T, a, b Socket) {
		for _, cut := range []Socket{a, b} {
			cut.Cut(true)
			send(t, a, b, 1, 10, 100)
			b.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, _, err := b.ReadFrom(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %d bytes: %v", n, err)
			}
			cut.Cut(false)
		}
		send(t, a, b, 7, 1, 100)
		if got := receive(t, b, 1, 100); got[0] != 7 {
			t.Errorf("number %d came through the cut", got[0])
		}
	})
}

func TestReadsEnd(t *testing.T) {
	both(t, Link{}, func(t *testing.T, a, b Socket) {
		for _, end := range []struct {
			how  func()
			want error
		}{
			{func() { b.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
			{func() { b.Close() }, net.ErrClosed},
		} {
			b.SetReadDeadline(time.Time{})
			ended := make(chan error)
			go func() {
				_, _, err := b.ReadFrom(make([]byte, 100))
				ended <- err
			}()
			end.how()
			if err := <-ended; !errors.Is(err, end.want) {
				t.Errorf("read ended with %v, not %v", err, end.want)
			}
		}
		if _, err := b.WriteTo([]byte("x"), a.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed socket: %v", err)
		}
	})
}

func TestANetworkRefusesAnAddressTwice(t *testing.T) {
	n := NewNetwork()
	defer n.Close()
	a, err := n.Listen("127.0.0.1:4000", Link{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("127.0.0.1:4000", Link{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v", err)
	}
	a.Close()
	if _, err := n.Listen("127.0.0.1:4000", Link{}); err != nil {
		t.Errorf("after the first is closed: %v", err)
	}
	if _, err := n.Listen("localhost", Link{}); err == nil {
		t.Error("an address without a port is taken")
	}
}

func TestNothingFliesEarlyOrLong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	var f flight
	waiting := map[*packet]bool{}
	for range 5000 {
		if r.IntN(3) > 0 {
			p := &packet{at: now.Add(time.Duration(r.Int64N(int64(5 * time.Second))))} // the wheel turns in two
			f.add(now, p)
			waiting[p] = true
		}
		now = now.Add(time.Duration(r.Int64N(int64(10 * time.Millisecond))))
		f.due(now, func(p *packet) {
			if p.at.After(now) || !waiting[p] {
				t.Fatalf("a packet came %s early", p.at.Sub(now))
			}
			delete(waiting, p)
		})
		for p := range waiting {
			if now.Sub(p.at) > 2*tick {
				t.Fatalf("a packet is %s late", now.Sub(p.at))
			}
		}
	}
	if f.count != len(waiting) {
		t.Errorf("%d on their way, %d counted", len(waiting), f.count)
	}
	f.due(now.Add(time.Minute), func(p *packet) { delete(waiting, p) })
	if len(waiting) > 0 {
		t.Errorf("%d never came", len(waiting))
	}
}
