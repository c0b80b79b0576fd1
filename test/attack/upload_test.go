// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// zeros is a body of n bytes that tells how much of it was taken.
type zeros struct {
	n     int64
	taken atomic.Int64
}

// Read gives the next of them.
func (z *zeros) Read(p []byte) (int, error) {
	left := z.n - z.taken.Load()
	if left == 0 {
		return 0, io.EOF
	}
	k := min(int64(len(p)), left)
	clear(p[:k])
	z.taken.Add(k)
	return int(k), nil
}

// stands waits until nobody takes any more of it for a while.
func (z *zeros) stands(t *testing.T) {
	t.Helper()
	still, last := 0, int64(-1)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(proxytest.Patience)
	defer deadline.Stop()
	for still < 15 {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it goes on and on: %d bytes", last)
		}
		if n := z.taken.Load(); n == last {
			still++
		} else {
			still, last = 0, n
		}
	}
}

// TestUploadThatNobodyReads: a host that does not read stops the client, not the
// memory; when it reads after all, everything arrives.
func TestUploadThatNobodyReads(t *testing.T) {
	const size = 64 << 20
	const small = "http2_protocol_options: {initial_stream_window_size: 65536}"
	large := frame(tSettings, 0, 0, setting(4, 1<<31-1)) + window(0, 1<<30)
	for _, tt := range []struct {
		name, cluster, manager string
		greeting               string
		reads                  bool
		most                   int64 // of the heap
	}{
		// Left alone, a stream's window grows for who reads fast, to 16 MiB.
		{"HTTP/1", "", "", "", true, 17 << 20},
		{"HTTP/1 with a window of ours", "", small, "", true, 2 << 20},
		{"HTTP/2", http2Cluster, "", frame(tSettings, 0, 0, ""), false, 2 << 20},
		{"HTTP/2 with a large window", http2Cluster, "", large, false, 17 << 20},
		{"HTTP/2 with a large window and one of ours", http2Cluster, small, large, false, 2 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := make(chan struct{})
			up := proxytest.NewUpstream(t, func(s *proxytest.Session) {
				if s.Send(tt.greeting) != nil {
					return
				}
				s.Hold(read)
				if tt.reads {
					if _, err := s.Head(); err != nil {
						return
					}
					if n, err := s.ReadN(size); err != nil || len(n) != size {
						t.Errorf("the host got %d bytes, %v", len(n), err)
					}
					_ = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nthus") // The client's side tells.
				}
			})
			p := proxytest.Start(t, proxytest.Edge{Cluster: tt.cluster, Manager: tt.manager, Routes: "- {match: {prefix: /}, route: {cluster: up, timeout: 0s}}"}.YAML(), proxytest.Options{
				Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
			})
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetUnencryptedHTTP2(true)
			defer tr.CloseIdleConnections()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := &zeros{n: size}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr()+"/", io.NopCloser(body))
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = size
			before := heap()
			done := make(chan error, 1)
			var got string
			go func() {
				res, err := tr.RoundTrip(r)
				if err == nil {
					var b []byte
					b, err = io.ReadAll(res.Body)
					got = res.Status + " " + string(b)
					_ = res.Body.Close()
				}
				done <- err
			}()
			body.stands(t)
			taken := body.taken.Load()
			if grown := heap() - before; grown > tt.most || taken == 0 || taken > size/2 {
				t.Errorf("of %d bytes the heap has grown by %d", taken, grown)
			}
			if tt.reads {
				close(read)
				if err := <-done; err != nil || got != "200 OK thus" {
					t.Errorf("the client got %q, %v", got, err)
				}
			} else {
				cancel()
				if <-done == nil {
					t.Errorf("an answer to what was cancelled: %q", got)
				}
			}
			settled(t, p)
			unharmed(t, p)
		})
	}
}
