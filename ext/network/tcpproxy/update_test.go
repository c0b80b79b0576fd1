// SPDX-License-Identifier: Apache-2.0

package tcpproxy_test

import (
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// A connection of a listener's old configuration goes on while that drains, and not
// for longer.
func TestUpdateDrains(t *testing.T) {
	up := proxytest.NewUpstream(t, echo)
	e := edge{}
	p := proxytest.Start(t, e.yaml(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}, DrainTime: time.Second,
	})
	old := p.Dial()
	old.Send("a")
	if got := old.ReadN(1); got != "a" {
		t.Fatalf("%q", got)
	}
	e.proxy = "idle_timeout: 77s"
	if problems := p.Update(e.yaml()); len(problems) > 0 {
		t.Fatal(problems)
	}
	next := p.Dial()
	for _, c := range []*proxytest.Client{old, next} {
		c.Send("b")
		if got := c.ReadN(1); got != "b" {
			t.Fatalf("%q", got)
		}
	}
	old.ExpectClosed()
	next.Send("c")
	if got := next.ReadN(1); got != "c" {
		t.Fatalf("%q", got)
	}
}
