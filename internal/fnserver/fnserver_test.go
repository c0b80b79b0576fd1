// SPDX-License-Identifier: Apache-2.0

package fnserver

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestServer: what is called by nobody's API is not found.
func TestServer(t *testing.T) {
	s := New()
	defer s.Close()
	s.Add(Function{ID: "a", Run: Text(`{"message":"Hello"}`)})
	for at, want := range map[string]int{"GET /invoke/a": 404, "POST /invoke/a": 200, "POST /invoke/": 404, "GET /t/": 404, "GET /": 404, "GET /r/a/b": 404} {
		method, path, _ := strings.Cut(at, " ")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d %s", at, w.Code, w.Body)
		}
	}
	s.Attached, s.MaxRequest = true, 3
	for body, want := range map[string]int{"abc": 501, "abcd": 413} {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("POST", "/invoke/a", strings.NewReader(body))
		q.Header.Set("Fn-Invoke-Type", "detached")
		s.ServeHTTP(w, q)
		if w.Code != want {
			t.Error(fmt.Sprint(body, w.Code, w.Body))
		}
	}
}
