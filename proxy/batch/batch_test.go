// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"errors"
	"log/slog"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/call"
)

func TestMain(m *testing.M) { leak.Main(m) }

func counters() Stats {
	return Stats{Written: new(stats.Counter), Sent: new(stats.Counter), Dropped: new(stats.Counter), Reports: new(stats.Counter), Refused: new(stats.Counter), Failed: new(stats.Counter)}
}

// TestClosed: what comes after the end is dropped, and counted.
func TestClosed(t *testing.T) {
	s := NewSet(call.New(nil, nil))
	o := Options{Service: &call.Service{Cluster: "a"}, Stats: counters()}
	e := s.New(o)
	s.Close()
	e.Add([]byte("x"))
	if o.Stats.Dropped.Value() != 1 || o.Stats.Written.Value() != 0 {
		t.Errorf("dropped %d, written %d", o.Stats.Dropped.Value(), o.Stats.Written.Value())
	}
}

// TestTold: each batch is counted by what became of it.
func TestTold(t *testing.T) {
	o := Options{Service: &call.Service{Cluster: "a"}, Stats: counters(), Log: slog.New(slog.DiscardHandler)}
	e := NewSet(call.New(nil, nil)).New(o)
	e.told(5, 2, nil)
	e.told(1, 9, nil)
	e.told(3, 0, refusal(503))
	e.told(4, 0, errors.New("gone"))
	st := o.Stats
	if st.Sent.Value() != 3 || st.Dropped.Value() != 2+1+3+4 || st.Reports.Value() != 2 || st.Refused.Value() != 1 || st.Failed.Value() != 1 {
		t.Errorf("sent %d, dropped %d, reports %d, refused %d, failed %d", st.Sent.Value(), st.Dropped.Value(), st.Reports.Value(), st.Refused.Value(), st.Failed.Value())
	}
}
