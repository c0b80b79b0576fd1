// SPDX-License-Identifier: Apache-2.0

package stats

import "testing"

func TestShared(t *testing.T) {
	type set struct {
		N Counter `stat:"n"`
	}
	var shared Shared[set]
	a, b := NewStore(), NewStore()
	one, again := shared.Register(a.Scope("x."), 1), shared.Register(a.Scope("x."), 1)
	if one != again || one == shared.Register(a.Scope("y."), 1) || one == shared.Register(b.Scope("x."), 1) {
		t.Error("a set is not that of its scope alone")
	}
	one.At(0).N.Inc()
	again.At(0).N.Inc()
	a.Visit(func(m Metric) {
		if m.Name == "x.n" && m.Count != 2 {
			t.Errorf("%d", m.Count)
		}
	})
}
