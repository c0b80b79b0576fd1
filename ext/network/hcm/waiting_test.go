// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"runtime"
	"testing"

	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/proxytest"
)

// TestWaitingRequestsHoldNoBuffer: streams that wait for a slow upstream
// take what they have to remember and none of the 32 KiB that reading or writing
// takes.
func TestWaitingRequestsHoldNoBuffer(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const streams = 64
	arrived, release := make(chan struct{}, 2*streams), make(chan struct{})
	script := func(s *proxytest.Session) {
		for {
			if _, err := s.Request(); err != nil {
				return
			}
			arrived <- struct{}{}
			select {
			case <-release:
			case <-t.Context().Done():
				return
			}
			s.Send(proxytest.OK("x"))
		}
	}
	p, _ := start(t, proxytest.Edge{}, script)
	block := plain([]byte{0x82, 0x86, 0x84}, [2]string{":authority", "a.test"})
	u := newClient2(t, p.Dial().Conn(), frameOf(frame.Headers, frame.EndHeaders|frame.EndStream, 1, block), streams)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	done := make(chan error, 1)
	go func() { done <- u.once() }()
	for range streams {
		<-arrived
	}
	per := int64(heap()-before) / streams
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for each stream that waits, with its upstream's part in this process", per)
	if per > 48<<10 {
		t.Errorf("a stream that waits takes %d bytes", per)
	}
}
