// SPDX-License-Identifier: Apache-2.0

package edition

import (
	"fmt"
	"sync"
	"testing"
)

func TestOldEditionsGoInOrder(t *testing.T) {
	var s Series[int]
	if s.Pin() != nil {
		t.Fatal("there is an edition")
	}
	ended := ""
	end := func(i int) func() { return func() { ended += fmt.Sprint(i) } }
	s.Publish(New(1))
	one := s.Pin()
	s.Publish(New(2), end(1))
	two := s.Pin()
	s.Publish(New(3), end(2))
	if one.Value != 1 || two.Value != 2 || ended != "" {
		t.Fatalf("%d %d, ended %q", one.Value, two.Value, ended)
	}
	two.Unpin()
	s.Publish(New(4), end(3))
	if ended != "" {
		t.Fatalf("ended %q while the first is in use", ended)
	}
	one.Unpin()
	s.Publish(New(5), end(4))
	if ended != "1234" {
		t.Fatalf("ended %q", ended)
	}
	last := s.Pin()
	s.Publish(New(6), end(5))
	s.Close()
	s.Close()
	last.Unpin()
	if v, ok := s.Newest(); ended != "12345" || v != 6 || !ok {
		t.Fatalf("ended %q, newest %d", ended, v)
	}
}

// Nobody holds an edition whose end was called.
func TestPinnedIsWhole(t *testing.T) {
	type value struct{ gone bool }
	var s Series[*value]
	now := &value{}
	s.Publish(New(now))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				e := s.Pin()
				if e.Value.gone {
					t.Error("pinned what is gone")
				}
				e.Unpin()
			}
		})
	}
	for range 20_000 {
		next, old := &value{}, now
		s.Publish(New(next), func() { old.gone = true })
		now = next
	}
	close(stop)
	wg.Wait()
}
