// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/test/weirtest"
)

func TestMain(m *testing.M) { weirtest.Main(m) }

// TestLoadCountsFailures holds the judge to its word before it judges anybody.
func TestLoadCountsFailures(t *testing.T) {
	tests := []struct {
		name   string
		answer func(n int64, w http.ResponseWriter)
		want   string
	}{
		{"good, then asked to close", func(n int64, w http.ResponseWriter) {
			if n >= 100 {
				w.Header().Set("Connection", "close")
			}
		}, ""},
		{"a wrong status", func(n int64, w http.ResponseWriter) {
			if n == 50 {
				w.WriteHeader(503)
			}
		}, "has status 503"},
		{"a connection cut", func(n int64, w http.ResponseWriter) {
			if n == 50 {
				panic(http.ErrAbortHandler)
			}
		}, "read the response"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int64
			var l *load
			ready := make(chan struct{})
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				<-ready
				now := n.Add(1)
				if now == 200 {
					l.leaving.Store(true)
				}
				if now >= 100 && tt.want != "" {
					w.Header().Set("Connection", "close")
				}
				tt.answer(now, w)
			}))
			defer s.Close()
			l = startLoad(strings.TrimPrefix(s.URL, "http://"), "/", 4)
			close(ready)
			failures := l.wait()
			switch {
			case tt.want == "" && len(failures) > 0:
				t.Errorf("failures: %v", failures)
			case tt.want != "" && (len(failures) != 1 || !strings.Contains(failures[0].Error(), tt.want)):
				t.Errorf("failures %v, want one with %q", failures, tt.want)
			}
			if l.answered.Load() < 100 || l.closes.Load() == 0 {
				t.Errorf("%d answered, %d closed", l.answered.Load(), l.closes.Load())
			}
		})
	}
}
