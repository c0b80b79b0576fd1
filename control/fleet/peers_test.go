// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/source"
)

// tells has what p posts reach q, as of now.
func (p *plane) tells(q *plane, alone bool) {
	p.t.Helper()
	if err := q.runner.Peer("p", p.runner.Post(alone)); err != nil {
		p.t.Fatal(err)
	}
}

// A Gateway is programmed once the proxies of other replicas have taken the same, too.
func TestProgrammedOnceAcknowledgedElsewhere(t *testing.T) {
	nothing := func() {}
	p := start(t, fleet.Options{Patience: 300 * time.Millisecond, Shared: nothing})
	q := start(t, fleet.Options{Patience: 300 * time.Millisecond, Shared: nothing})
	p.apply(objects)
	q.apply(objects)
	a := p.connect(edge("a"))
	r := a.next()
	b := q.connect(edge("b"))
	b.answer(b.next(), "")
	hears := func(want metav1.ConditionStatus, reason gwapiv1.GatewayConditionReason, message string) {
		t.Helper()
		q.until("the Gateway's status", func() (string, bool) {
			p.tells(q, false)
			return q.is(want, reason, message)
		})
	}

	// What the other tells counts as what its own does.
	p.tells(q, true)
	q.runner.Heard()
	hears(metav1.ConditionFalse, gwapiv1.GatewayReasonPending, "1 of 2 proxies have not acknowledged what they serve: a")
	a.answer(r, "")
	hears(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed, "")

	// The other is behind, until it has read what is new.
	changed := strings.ReplaceAll(objects, "port: 80,", "port: 81,")
	q.apply(changed)
	b.answer(b.next(), "")
	b.answer(b.next(), "")
	hears(metav1.ConditionFalse, gwapiv1.GatewayReasonPending, "1 of 2 proxies have not acknowledged what they serve: 1 at p, which serves another state")
	p.apply(changed)
	a.answer(a.next(), "")
	a.answer(a.next(), "no port 81 for me")
	hears(metav1.ConditionFalse, gwapiv1.GatewayReasonInvalid, "proxy a refuses listener: no port 81 for me")

	// Its proxies are gone with it.
	b.end()
	q.until("the proxy to be gone", func() (string, bool) {
		return "", len(q.runner.Proxies()[source.Name{Namespace: "default", Name: "edge"}]) == 0
	})
	if err := q.runner.Peer("p", ""); err != nil {
		t.Fatal(err)
	}
	q.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonNoResources, "no proxy is connected")
}

// What is heard before it is known which Gateways there are has nobody be told that there
// are none.
func TestHeardBeforeObjects(t *testing.T) {
	q := &source.Queue{}
	r := fleet.New(fleet.Options{Queue: q, Shared: func() {}, Log: slog.New(slog.DiscardHandler)})
	defer r.Close()
	if err := r.Peer("p", `{"gateways":null}`); err != nil {
		t.Fatal(err)
	}
	r.Heard()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Take(ctx); err == nil {
		t.Error("the control plane goes on before it has read any objects")
	}
}

// What another has posted is read, or told to be wrong, whatever it is.
func FuzzPeer(f *testing.F) {
	f.Add(`{"gateways":{"default/edge":{"digest":"AAAAAAAAAAAAAAAAAAAAAA","proxies":2,"late":1,"names":["a"],"refusals":["x"]}}}`)
	f.Add(`{"gateways":null}`)
	f.Add(`[]`)
	f.Add(`{"gateways":{"default/edge":{"proxies":-1,"late":9}}}`)
	f.Fuzz(func(_ *testing.T, text string) {
		r := fleet.New(fleet.Options{Queue: &source.Queue{}, Shared: func() {}, Log: slog.New(slog.DiscardHandler)})
		defer r.Close()
		_ = r.Peer("p", text)
		_ = r.Peer("p", "")
	})
}
