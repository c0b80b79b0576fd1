// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// netHTTP starts a net/http server that speaks HTTP/2 in cleartext.
func netHTTP(tb testing.TB, h http.HandlerFunc) string {
	tb.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestClientAsksNetHTTP(t *testing.T) {
	addr := netHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-End")
		w.Header().Set("x-path", r.URL.Path)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = w.Write(b)
		w.Header().Set("X-End", "end")
	})
	u := newRig(t).call(addr, Options{})
	for _, n := range []int{0, 1, 100, 4096, 20000, 1 << 20, 5 << 20} {
		body := strings.Repeat("y", n)
		a, err := u.post(fmt.Sprintf("/%d", n), body)
		if err != nil || a.status != 200 || a.body != body || a.trailer["x-end"] != "end" || a.fields["x-path"] != fmt.Sprintf("/%d", n) {
			t.Fatalf("%d bytes: %d, %d bytes, %v %v %v", n, a.status, len(a.body), a.fields, a.trailer, err)
		}
		if len(a.interim) != 1 || a.interim[0] != 103 {
			t.Fatalf("interim %v", a.interim)
		}
	}
}

func TestClientAsksServer(t *testing.T) {
	r := newRig(t)
	x := r.site(Options{}, echo)
	u := r.call(x.addr, Options{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			body := strings.Repeat("z", 3000*i)
			a, err := u.post("/", body, "content-type", "text/plain")
			if err != nil || a.status != 200 || a.body != body {
				t.Errorf("%d, %d bytes of %d, %v", a.status, len(a.body), len(body), err)
			}
		})
	}
	wg.Wait()
}
