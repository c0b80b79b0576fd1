// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// pound sends requests over connections that stay, until end is called, and fails the
// test at the first that is not answered by 200. end returns how many there were.
func pound(t *testing.T, addr string, connections int) (end func() int64) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var n atomic.Int64
	for range connections {
		wg.Go(func() {
			c := proxytest.Dial(t, addr)
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := c.Do(plain); r.StatusCode != 200 || r.Close {
					t.Errorf("got %v", r)
					return
				}
				n.Add(1)
			}
		})
	}
	return func() int64 {
		t.Helper()
		close(stop)
		wg.Wait()
		if n.Load() == 0 {
			t.Error("no request was sent")
		}
		return n.Load()
	}
}
