// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"log/slog"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// Two writers never have statuses of one object at a time: the older could win.
func TestStatusesOfOneObjectAreWrittenInTurn(t *testing.T) {
	w := NewStatusWriter(nil, "weir.dev/test", slog.New(slog.DiscardHandler))
	key := source.Key{Kind: source.Gateway, Name: source.Name{Namespace: "a", Name: "b"}}
	first, second, third := &status.Update{Key: key}, &status.Update{Key: key}, &status.Update{Key: key}
	w.Write([]*status.Update{first})
	if w.next() != first {
		t.Fatal("the first status is not handed out")
	}
	w.Write([]*status.Update{second})
	w.Write([]*status.Update{third})
	if u := w.next(); u != nil {
		t.Fatal("a status is handed out while one of the same object is being written")
	}
	w.done(key)
	if w.next() != third {
		t.Error("the last status is not handed out when the first has been written")
	}
	w.done(key)
	if w.next() != nil {
		t.Error("a status is handed out twice")
	}
}

func TestOlder(t *testing.T) {
	at := func(version string) source.Object {
		o := &gwapiv1.Gateway{}
		o.ResourceVersion = version
		return o
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{{"9", "10", true}, {"10", "9", false}, {"9", "9", false}, {"x", "9", false}, {"9", "", false}} {
		if got := older(at(tt.a), at(tt.b)); got != tt.want {
			t.Errorf("%q is older than %q: %v", tt.a, tt.b, got)
		}
	}
}
