// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const good = `{"issuer":"x","authorization_endpoint":"https://a/auth","token_endpoint":"https://a/token","end_session_endpoint":"https://a/out","more":[1]}`

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		good: "",
		`{"authorization_endpoint":"https://a/auth","token_endpoint":"https://a/token"}`: "",
		`<html>`: "not the JSON",
		`{}`:     "has no ",
		`{"authorization_endpoint":"javascript:x","token_endpoint":"https://a/token"}`: "authorization_endpoint of the configuration is not a URL",
		`{"authorization_endpoint":7}`: "not the JSON",
	} {
		_, err := Parse([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := Parse(b); err == nil && (i.AuthorizationEndpoint == "" || i.TokenEndpoint == "") {
			t.Errorf("%+v", i)
		}
	})
}

// run runs a Discoverer of one policy, and returns what tells of it.
func run(t *testing.T, issuer string) (next func() *source.Issuer, change func(issuer string)) {
	t.Helper()
	q := &source.Queue{}
	d := New(Options{Queue: q, Log: slog.New(slog.DiscardHandler), Every: time.Millisecond, Again: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	view := source.NewView()
	change = func(issuer string) {
		p := &api.SecurityPolicy{}
		p.Name, p.Namespace = "p", "default"
		p.Spec.OIDC = &api.OIDC{Provider: api.OIDCProvider{Issuer: issuer}}
		view, _ = view.Apply([]source.Change{{Key: source.Key{Kind: source.SecurityPolicy, Name: source.Name{Namespace: "default", Name: "p"}}, Object: p}})
		d.Changed(view)
	}
	change(issuer)
	return func() *source.Issuer {
		t.Helper()
		within, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		got, err := q.Take(within)
		if err != nil {
			t.Fatal(err)
		}
		i, _ := got[len(got)-1].Object.(*source.Issuer)
		return i
	}, change
}

func TestDiscoverer(t *testing.T) {
	var serve atomic.Pointer[http.HandlerFunc]
	set := func(f http.HandlerFunc) { serve.Store(&f) }
	asked := make(chan struct{}) // Told of each request, if somebody listens.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		if r.URL.Path != "/realm/.well-known/openid-configuration" && r.URL.Path != "/again" {
			t.Errorf("asked for %s", r.URL)
		}
		(*serve.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, bad := range map[string]http.HandlerFunc{
		"answers 503":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"not the JSON":        text("<html>"),
		"more than":           text(strings.Repeat(" ", 300<<10) + good),
		"redirected too ofte": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"EOF":                 func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			set(bad)
			next, change := run(t, s.URL+"/realm/")
			if i := next(); i == nil || !strings.Contains(i.Problem, name) || i.TokenEndpoint != "" {
				t.Fatalf("%+v", i)
			}
			set(text(good))
			for i := next(); i.Problem != "" || i.TokenEndpoint != "https://a/token"; i = next() {
			}
			// What was had stays.
			set(bad)
			for range 3 {
				<-asked
			}
			set(text(strings.Replace(good, "/token", "/t2", 1)))
			if i := next(); i.Problem != "" || i.TokenEndpoint != "https://a/t2" {
				t.Errorf("%+v", i)
			}
			change("ftp://x")
			for i := next(); i == nil || !strings.Contains(i.Problem, "not a URL"); i = next() {
			}
		})
	}
}
