// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// multiplexed is a client that speaks HTTP/2 on as few connections as it may.
func multiplexed(t *testing.T) *http.Transport {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// ask sends a GET and returns the status and the body.
func ask(ctx context.Context, tr *http.Transport, url string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := tr.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res.StatusCode, string(body), err
}

// TestMultiplexedLife: limits of a connection end it without harm to a request.
func TestMultiplexedLife(t *testing.T) {
	for _, tt := range []struct{ name, manager, stat string }{
		{"requests", "common_http_protocol_options: {max_requests_per_connection: 7}", "http.test.downstream_cx_max_requests_reached"},
		{"duration", "common_http_protocol_options: {max_connection_duration: 0.05s}", "http.test.downstream_cx_max_duration_reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := start(t, proxytest.Edge{Manager: tt.manager}, mirror)
			tr, url := multiplexed(t), "http://"+p.Addr()+"/"
			for n := 0; ; n++ {
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						if status, _, err := ask(t.Context(), tr, fmt.Sprint(url, i)); err != nil || status != 200 {
							t.Errorf("%d %v", status, err)
						}
					})
				}
				wg.Wait()
				if n >= 10 && p.Counter(tt.stat) >= 2 || t.Failed() {
					break
				}
			}
			if n := p.Counter("http.test.downstream_cx_http2_total"); n < 2 {
				t.Errorf("%d connections", n)
			}
			tr.CloseIdleConnections()
			p.WaitGauge("http.test.downstream_cx_http2_active", 0)
			p.WaitGauge("http.test.downstream_rq_active", 0)
		})
	}
}

// TestMultiplexedIdle: a connection without streams ends after its time, and says so.
func TestMultiplexedIdle(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "common_http_protocol_options: {idle_timeout: 0.1s}"}, mirror)
	if status, _, err := ask(t.Context(), multiplexed(t), "http://"+p.Addr()+"/"); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	p.WaitCounter("http.test.downstream_cx_idle_timeout", 1)
	p.WaitGauge("http.test.downstream_cx_active", 0)
	// The first lets what is on its way arrive, the second names the last stream.
	if n := p.Counter("http2.goaway_sent"); n != 2 {
		t.Errorf("%d GOAWAYs", n)
	}
}

// TestMultiplexedDrain: no request fails while the proxy drains, and what is in
// flight is finished.
func TestMultiplexedDrain(t *testing.T) {
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
	tr, url := multiplexed(t), "http://"+p.Addr()
	var slow sync.WaitGroup
	slow.Go(func() {
		if status, body, err := ask(t.Context(), tr, url+"/slow"); err != nil || status != 200 || body != "ok" {
			t.Errorf("the request in flight: %d %q %v", status, body, err)
		}
	})
	up.WaitRequests(1)
	var drain sync.WaitGroup
	drain.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		p.Drain(ctx)
	})
	p.WaitCounter("http2.goaway_sent", 2)
	close(release)
	slow.Wait()
	drain.Wait()
	if n, _ := p.Metric("http.test.downstream_cx_active"); n.Level != 0 {
		t.Errorf("%d connections are left", n.Level)
	}
}
