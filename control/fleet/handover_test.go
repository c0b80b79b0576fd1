// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/source"
)

// kept waits until these gateways are, though they are gone.
func (p *plane) kept(want ...string) {
	p.t.Helper()
	p.until("the gateways that are kept", func() (string, bool) {
		var got []string
		for _, n := range p.runner.Kept() {
			got = append(got, n.String())
		}
		return fmt.Sprint(got), slices.Equal(got, want)
	})
}

// told is how many statuses have said that a Gateway is, or is not, programmed.
func (p *plane) told(s metav1.ConditionStatus) (n int) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for _, c := range p.written.all {
		if c.Status == s {
			n++
		}
	}
	return n
}

// A class whose Gateways begin to share proxies, or end to, has those of before serve on until the others do and are found, and
// statuses tell of the others then and not before.
func TestHandover(t *testing.T) {
	apart := strings.Replace(merged, "mergeGateways: true", "mergeGateways: false", 1)
	p := start(t, fleet.Options{Patience: time.Minute, Settle: 50 * time.Millisecond, Linger: 50 * time.Millisecond})
	p.apply(apart)
	<-p.runner.Begun()
	a, b := p.connect(&corev3.Node{Cluster: "default/a", Id: "a"}), p.connect(&corev3.Node{Cluster: "default/b", Id: "b"})
	a.answer(a.next(), "")
	b.answer(b.next(), "")
	p.until("both to be programmed", func() (string, bool) { n := p.told(metav1.ConditionTrue); return fmt.Sprint(n), n >= 2 })

	before := p.told(metav1.ConditionFalse) // It may have been told that they begin.
	p.apply(merged)
	p.kept("default/a", "default/b")
	shared := p.connect(&corev3.Node{Cluster: "class-weir", Id: "shared"})
	r := shared.next()
	p.kept("default/a", "default/b") // One that has not answered does not take over.
	if n := p.told(metav1.ConditionFalse); n > before {
		t.Errorf("a Gateway was told not to be programmed while others serve it")
	}
	shared.answer(r, "")
	p.kept()
	// They are told to serve nothing, since nobody takes them away.
	if gone := a.next(); len(gone.GetRemovedResources()) != 1 {
		t.Errorf("the proxies of before are told %v", gone)
	}
	a.end()
	b.end()

	p.apply(apart)
	p.kept("class-weir")
	p.apply(merged) // Back, before somebody takes over.
	p.kept()
	p.apply(apart)
	p.kept("class-weir")
	a, b = p.connect(&corev3.Node{Cluster: "default/a", Id: "a"}), p.connect(&corev3.Node{Cluster: "default/b", Id: "b"})
	a.answer(a.next(), "")
	p.kept("class-weir") // For the other Gateway.
	b.answer(b.next(), "")
	p.kept()
	if n := p.told(metav1.ConditionFalse); n > before {
		t.Errorf("a Gateway was told not to be programmed while others serve it")
	}

	// A Gateway that goes has no heir.
	for _, name := range []string{"a", "b"} {
		p.queue.Put(source.Change{Key: source.Key{Kind: source.Gateway, Name: source.Name{Namespace: "default", Name: name}}})
	}
	if gone := a.next(); len(gone.GetRemovedResources()) != 1 {
		t.Errorf("proxies whose Gateway has gone are told %v", gone)
	}
	p.kept()
}
