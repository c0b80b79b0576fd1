// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// modes are the protocols that a Server speaks, each with a client that speaks only it.
func modes(t *testing.T) map[string]*http.Client {
	t.Helper()
	out := map[string]*http.Client{}
	for name, set := range map[string]func(*http.Protocols){
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2.0": func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		var p http.Protocols
		set(&p)
		tr := &http.Transport{Protocols: &p, DisableCompression: true}
		t.Cleanup(tr.CloseIdleConnections)
		out[name] = &http.Client{Transport: tr}
	}
	return out
}

func start(t *testing.T, addresses ...string) *Server {
	t.Helper()
	s, err := Listen("orders", addresses...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestReport(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	base := "http://" + s.Addresses()[0]
	for protocol, client := range modes(t) {
		t.Run(protocol, func(t *testing.T) {
			req := request(t, "POST", base+"/a%2Fb?x=1", struct{ io.Reader }{strings.NewReader("hello")})
			req.Host = "shop.example"
			req.Header = http.Header{"X-One": {"a", "b"}, "User-Agent": {"test"}}
			req.Trailer = http.Header{"X-Sum": {"5"}}
			resp, body := do(t, client, req)
			var got Report
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			got.Remote = ""
			want := Report{
				Name: "orders", Method: "POST", Path: "/a%2Fb?x=1", Host: "shop.example", Protocol: protocol,
				Headers: map[string][]string{
					"x-one": {"a", "b"}, "user-agent": {"test"}, "accept-encoding": nil,
				},
				Trailers: map[string][]string{"x-sum": {"5"}},
				BodySize: 5,
			}
			delete(want.Headers, "accept-encoding")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("wrong report (-want +got):\n%s", d)
			}
			if name := resp.Header.Get("X-Echo-Name"); name != "orders" {
				t.Errorf("x-echo-name is %q", name)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	base := "http://" + s.Addresses()[0]
	tests := []struct {
		name, method, query string
		header              http.Header
		status              int
		size                int // of the body; -1: a report
		set                 http.Header
	}{
		{name: "plain", status: 200, size: -1},
		{name: "status by query", query: "?status=503", status: 503, size: -1},
		{name: "status by header", header: http.Header{"X-Echo-Status": {"418"}}, status: 418, size: -1},
		{name: "query wins", query: "?status=201", header: http.Header{"X-Echo-Status": {"418"}}, status: 201, size: -1},
		{name: "no body by status", query: "?status=204", status: 204},
		{name: "not modified", query: "?status=304&size=10", status: 304},
		{name: "size", query: "?size=100000", status: 200, size: 100000},
		{name: "size by header", header: http.Header{"X-Echo-Size": {"7"}}, status: 200, size: 7},
		{name: "size zero", query: "?size=0", status: 200},
		{name: "head", method: "HEAD", query: "?size=5", status: 200},
		{
			name:   "headers",
			header: http.Header{"X-Echo-Set-Header": {"x-a: 1", "X-A:2", "set-cookie: a=b; c"}},
			status: 200, size: -1,
			set: http.Header{"X-A": {"1", "2"}, "Set-Cookie": {"a=b; c"}},
		},
	}
	for protocol, client := range modes(t) {
		for _, tt := range tests {
			t.Run(protocol+"/"+tt.name, func(t *testing.T) {
				req := request(t, tt.method, base+"/"+tt.query, nil)
				req.Header = tt.header.Clone()
				resp, body := do(t, client, req)
				if resp.StatusCode != tt.status {
					t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
				}
				if tt.size >= 0 && len(body) != tt.size {
					t.Errorf("%d bytes of body, want %d", len(body), tt.size)
				}
				if tt.size < 0 && !json.Valid(body) {
					t.Errorf("not a report: %s", body)
				}
				for name, want := range tt.set {
					if d := cmp.Diff(want, resp.Header.Values(name)); d != "" {
						t.Errorf("wrong %s (-want +got):\n%s", name, d)
					}
				}
			})
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, query string
		header      http.Header
		want        string
	}{
		{name: "delay without unit", query: "delay=200", want: `delay \"200\": want a duration`},
		{name: "delay over the limit", query: "delay=5m1s", want: "at most 5m0s"},
		{name: "negative delay", query: "delay=-1s", want: "want a duration"},
		{name: "informational status", query: "status=101", want: "from 200 to 599"},
		{name: "size over the limit", query: "size=67108865", want: "at most 67108864"},
		{name: "no colon", header: http.Header{"X-Echo-Set-Header": {"x"}}, want: "want name: value"},
		{name: "no name", header: http.Header{"X-Echo-Set-Header": {": x"}}, want: "want name: value"},
		{name: "framing", header: http.Header{"X-Echo-Set-Header": {"Content-Length: 1"}}, want: "set by the server alone"},
		{name: "control character", header: http.Header{"X-Echo-Set-Header": {"a: b\x01"}}, want: "control character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/?"+tt.query, nil)
			r.Header = tt.header
			Handler("orders").ServeHTTP(w, r)
			if w.Code != 400 || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("answered %d %s, want 400 with %q", w.Code, w.Body, tt.want)
			}
		})
	}
}

func TestBodyOverTheLimit(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/", io.LimitReader(zeros{}, MaxBody+1))
	Handler("orders").ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %d %s, want 413", w.Code, w.Body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := httptest.NewRecorder()
		Handler("orders").ServeHTTP(w, httptest.NewRequest("GET", "/?delay=90s", nil))
		if took := time.Since(began); took != 90*time.Second || w.Code != 200 {
			t.Errorf("answered %d after %v, want 200 after 90s", w.Code, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		Handler("orders").ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/?delay=90s", nil))
		if took := time.Since(began); took != time.Second {
			t.Errorf("a client that left was waited for %v, want 1s", took)
		}
	})
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(Handler("orders"))
	defer s.Close()
	_, body := do(t, s.Client(), request(t, "GET", s.URL, nil))
	var got Report
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.TLS == nil || got.TLS.Version != "TLS 1.3" || got.TLS.CipherSuite == "" {
		t.Errorf("TLS is %+v, want version 1.3 and a cipher suite", got.TLS)
	}
}

func TestSeveralAddresses(t *testing.T) {
	path := t.TempDir() + "/echo.sock"
	s := start(t, "127.0.0.1:0", "unix:"+path)
	if got := s.Addresses(); len(got) != 2 || got[1] != path {
		t.Fatalf("bound %v", got)
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	if resp, _ := do(t, &http.Client{Transport: tr}, request(t, "GET", "http://echo/", nil)); resp.StatusCode != 200 {
		t.Errorf("answered %d over the unix socket", resp.StatusCode)
	}
	if _, err := Listen("late", s.Addresses()[0]); err == nil {
		t.Error("one address was bound twice")
	}
	if _, err := Listen("none"); err == nil {
		t.Error("started without an address")
	}
}

// TestShutdown holds a request in flight while the server shuts down: it is answered, and a new connection
// is refused meanwhile.
func TestShutdown(t *testing.T) {
	s, err := Listen("orders", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := s.Addresses()[0]
	body, feed := io.Pipe()
	answered := make(chan int, 1)
	tr := &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}
	go func() {
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "POST", "http://"+address, body)
		if err != nil {
			answered <- -1
			return
		}
		req.Header.Set("Expect", "100-continue")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			answered <- -1
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	// The client sends a body only once the server asks for it, so then the request is in flight.
	if _, err := feed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	for {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	_ = feed.Close()
	if got := <-answered; got != 200 {
		t.Errorf("the request in flight got %d, want 200", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a second shutdown: %v", err)
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("delay=1s&status=503&size=10", "a: b")
	f.Add("delay=&size=-1", ":")
	f.Fuzz(func(t *testing.T, query, set string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, err := parseOptions(q, http.Header{"X-Echo-Set-Header": {set}})
		if err != nil {
			return
		}
		if o.delay < 0 || o.delay > MaxDelay || o.size < 0 || o.size > MaxSize || o.status < 200 || o.status > 599 {
			t.Errorf("over a limit: %+v", o)
		}
		for _, h := range o.headers {
			if strings.ContainsAny(h.name+h.value, "\r\n\x00") {
				t.Errorf("header splits the answer: %q", h)
			}
		}
	})
}
