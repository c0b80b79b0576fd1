// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

func TestMaxRequests(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "common_http_protocol_options: {max_requests_per_connection: 3}"}, mirror)
	c := p.Dial()
	c.Send(strings.Repeat(get("/"), 5))
	for i := range 3 {
		if r := c.Response("GET"); r.StatusCode != 200 || r.Close != (i == 2) {
			t.Errorf("response %d: %v, close %v", i, r, r.Close)
		}
	}
	c.ExpectClosed()
	if n := p.Counter("http.test.downstream_cx_max_requests_reached"); n != 1 {
		t.Errorf("downstream_cx_max_requests_reached is %d", n)
	}
}

func TestConnectionTimeouts(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "common_http_protocol_options: {idle_timeout: 0.5s}"}, mirror)
	c, unused := p.Dial(), p.Dial()
	if r := c.Do(get("/")); r.StatusCode != 200 {
		t.Error(r)
	}
	c.ExpectClosed()
	unused.ExpectClosed()
	p.WaitCounter("http.test.downstream_cx_idle_timeout", 2)

	p, _ = start(t, proxytest.Edge{Manager: "common_http_protocol_options: {max_connection_duration: 0.5s}"}, mirror)
	c = p.Dial()
	if r := c.Do(get("/")); r.StatusCode != 200 {
		t.Error(r)
	}
	c.ExpectClosed()
	p.WaitCounter("http.test.downstream_cx_max_duration_reached", 1)
}

// TestMaxDurationBusy: a connection that is past its time finishes its request.
func TestMaxDurationBusy(t *testing.T) {
	release := make(chan struct{})
	p, up := start(t, proxytest.Edge{Manager: "common_http_protocol_options: {max_connection_duration: 0.5s}"}, func(s *proxytest.Session) {
		if _, err := s.Request(); err == nil {
			s.Hold(release)
			_ = s.Send(proxytest.OK("ok"))
			_ = s.Gone()
		}
	})
	c := p.Dial()
	c.Send(get("/"))
	up.WaitRequests(1)
	over := time.NewTimer(600 * time.Millisecond)
	defer over.Stop()
	<-over.C
	close(release)
	if r := c.Response("GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("%v, close %v", r, r.Close)
	}
	c.ExpectClosed()
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	p, up := start(t, proxytest.Edge{}, func(s *proxytest.Session) {
		for {
			r, err := s.Request()
			if err != nil {
				return
			}
			if strings.HasPrefix(r, "GET /slow ") {
				s.Hold(release)
			}
			if s.Send(proxytest.OK("ok")) != nil {
				return
			}
		}
	})
	idle, busy := p.Dial(), p.Dial()
	if r := idle.Do(get("/")); r.Close {
		t.Error("a response before the drain announces the end")
	}
	busy.Send(get("/slow"))
	up.WaitRequests(2)
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		p.Drain(ctx)
	})
	// An idle connection may still send for a moment; it is told then.
	for {
		r := idle.Do(get("/"))
		if r.StatusCode != 200 {
			t.Fatal(r)
		}
		if r.Close {
			break
		}
	}
	idle.ExpectClosed()
	close(release)
	if r := busy.Response("GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("%v, close %v", r, r.Close)
	}
	busy.ExpectClosed()
	idle.Close()
	busy.Close()
	wg.Wait()
}

// TestDrainUnderLoad: no request fails while the proxy drains.
func TestDrainUnderLoad(t *testing.T) {
	p, _ := start(t, proxytest.Edge{}, mirror)
	addr := p.Addr()
	var wg sync.WaitGroup
	warm := make(chan struct{}, 8)
	for range 8 {
		c := proxytest.Dial(t, addr)
		wg.Go(func() {
			for i := 0; ; i++ {
				if i == 20 {
					warm <- struct{}{}
				}
				c.Send(get(fmt.Sprintf("/%d", i)))
				r := c.Response("GET")
				if r.StatusCode != 200 {
					t.Errorf("request %d: %v", i, r)
				}
				if r.Close {
					c.Close()
					return
				}
			}
		})
	}
	for range 8 {
		<-warm
	}
	ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
	defer cancel()
	p.Drain(ctx)
	wg.Wait()
}
