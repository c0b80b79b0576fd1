// SPDX-License-Identifier: Apache-2.0

package combinations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// get sends a request and returns the response with its body read.
func (p *pair) do(r *http.Request) (*http.Response, string) {
	p.t.Helper()
	res, err := p.client.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("read the body of %s %s: %v", r.Method, r.URL, err)
	}
	_ = res.Body.Close()
	if res.Proto != p.down {
		p.t.Errorf("the response is of %s", res.Proto)
	}
	return res, string(body)
}

func (p *pair) request(method, path string, body io.Reader) *http.Request {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), proxytest.Patience)
	p.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, p.url(path), body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// unsized hides the length of a body.
type unsized struct{ io.Reader }

func TestExchanges(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the server reads: %v", err)
		}
		for k, v := range r.Trailer {
			w.Header().Set("saw-trailer", k+"="+strings.Join(v, "|"))
		}
		w.Header().Set("saw", fmt.Sprintf("%s %s %s %d", r.Method, r.Host, r.URL.RequestURI(), r.ContentLength))
		w.Header().Set("saw-cookie", strings.Join(r.Header["Cookie"], "|"))
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Trailer", "X-End")
		if n, err := strconv.Atoi(r.Header.Get("status")); err == nil {
			w.WriteHeader(n)
		}
		if r.Method != http.MethodHead && r.Header.Get("status") == "" {
			_, _ = w.Write(body) // The client's side tells.
			w.Header().Set("X-End", strconv.Itoa(len(body)))
		}
	}
	each(t, echo, func(p *pair) {
		for _, tt := range []struct {
			name, method, path string
			body               io.Reader
			header             http.Header
			trailer            http.Header
			status, length     int
			want               string
		}{
			{name: "get", method: "GET", path: "/a?b=c"},
			{name: "head", method: "HEAD", path: "/"},
			{name: "options", method: "OPTIONS", path: "/"},
			{name: "delete", method: "DELETE", path: "/"},
			{name: "post", method: "POST", path: "/", body: strings.NewReader("hello"), length: 5, want: "hello"},
			{name: "empty post", method: "POST", path: "/", body: http.NoBody},
			{name: "unsized", method: "POST", path: "/", body: unsized{strings.NewReader("hello")}, length: -1, want: "hello"},
			{name: "large", method: "PUT", path: "/", body: strings.NewReader(large), length: len(large), want: large},
			{name: "large unsized", method: "PUT", path: "/", body: unsized{strings.NewReader(large)}, length: -1, want: large},
			{name: "request trailer", method: "POST", path: "/", body: unsized{strings.NewReader("x")}, trailer: http.Header{"X-Sum": {"7"}}, length: -1, want: "x"},
			{name: "cookies", method: "GET", path: "/", header: http.Header{"Cookie": {"a=1; b=2"}}},
			{name: "no content", method: "GET", path: "/", header: http.Header{"Status": {"204"}}, status: 204},
			{name: "not modified", method: "GET", path: "/", header: http.Header{"Status": {"304"}}, status: 304},
			{name: "error", method: "GET", path: "/", header: http.Header{"Status": {"500"}}, status: 500},
		} {
			p.t.Run(tt.name, func(t *testing.T) {
				r := p.request(tt.method, tt.path, tt.body)
				for k, v := range tt.header {
					r.Header[k] = v
				}
				r.Trailer = tt.trailer
				res, body := p.do(r)
				if tt.status == 0 {
					tt.status = 200
				}
				if res.StatusCode != tt.status || body != tt.want {
					t.Errorf("%d with %d bytes, want %d with %d", res.StatusCode, len(body), tt.status, len(tt.want))
				}
				saw := fmt.Sprintf("%s %s %s %d", tt.method, p.proxy.Addr(), tt.path, tt.length)
				if got := res.Header.Get("saw"); got != saw {
					t.Errorf("the server saw %q, want %q", got, saw)
				}
				if got := strings.Join(res.Header["Set-Cookie"], "|"); got != "a=1|b=2" {
					t.Errorf("set-cookie is %q", got)
				}
				if c := tt.header.Get("Cookie"); c != res.Header.Get("saw-cookie") {
					t.Errorf("the server saw cookies %q", res.Header.Get("saw-cookie"))
				}
				for k, v := range tt.trailer {
					if got := res.Header.Get("saw-trailer"); got != k+"="+strings.Join(v, "|") {
						t.Errorf("the server saw trailer %q", got)
					}
				}
				// HTTP/1 has no trailers behind a body of known length.
				if res.ContentLength < 0 && tt.want != "" && res.Trailer.Get("X-End") != strconv.Itoa(len(tt.want)) {
					t.Errorf("trailer is %v", res.Trailer)
				}
			})
		}
	})
}

func TestLocalReplies(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http looks for the end behind the body only.
		<-r.Context().Done()
	}
	each(t, silent, func(p *pair) {
		if res, body := p.do(p.request("GET", "/direct", nil)); res.StatusCode != 418 || body != "teapot" {
			p.t.Errorf("%d %q", res.StatusCode, body)
		}
		if res, _ := p.do(p.request("POST", "/redirect", strings.NewReader("body"))); res.StatusCode != 301 {
			p.t.Errorf("%d", res.StatusCode)
		}
		if res, body := p.do(p.request("GET", "/slow", nil)); res.StatusCode != 504 || body != "upstream request timeout" {
			p.t.Errorf("%d %q", res.StatusCode, body)
		}
		r := p.request("POST", "/slow", strings.NewReader("\x00\x00\x00\x00\x00"))
		r.Header.Set("Content-Type", "application/grpc")
		if res, _ := p.do(r); res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "14" && res.Header.Get("Grpc-Status") != "4" {
			p.t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	})
}

func TestInterim(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body) // The client's side tells.
	}, func(p *pair) {
		var hints []string
		r := p.request("POST", "/", strings.NewReader("x"))
		r.Header.Set("Expect", "100-continue")
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == 103 {
					hints = append(hints, h.Get("Link"))
				}
				return nil
			},
		}))
		if res, body := p.do(r); res.StatusCode != 200 || body != "x" {
			p.t.Errorf("%d %q", res.StatusCode, body)
		}
		if len(hints) != 1 || hints[0] != "</style.css>" {
			p.t.Errorf("hints: %q", hints)
		}
	})
}

func TestServerAborts(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/midway" {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<16)) // The client's side tells.
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}, func(p *pair) {
		if res, _ := p.do(p.request("GET", "/", nil)); res.StatusCode != 503 && res.StatusCode != 502 {
			p.t.Errorf("before the response: %d", res.StatusCode)
		}
		res, err := p.client.Do(p.request("GET", "/midway", nil))
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			p.t.Error("half a response passes for whole")
		}
		_ = res.Body.Close()
		p.proxy.WaitGauge("http.test.downstream_rq_active", 0)
		p.proxy.WaitGauge("cluster.up.upstream_rq_active", 0)
	})
}

func TestClientAborts(t *testing.T) {
	gone := make(chan struct{}, 16)
	each(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	}, func(p *pair) {
		for range 2 {
			ctx, cancel := context.WithCancel(p.t.Context())
			res, err := p.client.Do(p.request("GET", "/", nil).WithContext(ctx))
			if err != nil {
				p.t.Fatal(err)
			}
			cancel()
			_, err = io.ReadAll(res.Body)
			if !errors.Is(err, context.Canceled) {
				p.t.Errorf("read: %v", err)
			}
			_ = res.Body.Close()
			<-gone
		}
		p.proxy.WaitGauge("http.test.downstream_rq_active", 0)
	})
}

func TestManyAtOnce(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the server reads: %v", err)
		}
		_, _ = w.Write(body) // The client's side tells.
	}, func(p *pair) {
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for j := range 20 {
					body := strings.Repeat(fmt.Sprintf("%d-%d ", i, j), 500*(j%4))
					res, err := p.client.Post(p.url("/"), "text/plain", strings.NewReader(body))
					if err != nil {
						p.t.Error(err)
						return
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || string(got) != body {
						p.t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestBothWays sends and receives in turn on one exchange, as gRPC does.
func TestBothWays(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // HTTP/2 always is.
		w.WriteHeader(200)
		_ = rc.Flush()
		b := make([]byte, 16)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(bytes.ToUpper(b[:n])) // The client's side tells.
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	}, func(p *pair) {
		if p.down == "HTTP/1.1" {
			p.t.Skip("net/http's client does not read before it has sent all")
		}
		in, out := io.Pipe()
		res, err := p.client.Do(p.request("POST", "/", in))
		if err != nil {
			p.t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b := make([]byte, 16)
		for i := range 20 {
			say := fmt.Sprintf("ping %d", i)
			if _, err := io.WriteString(out, say); err != nil {
				p.t.Fatal(err)
			}
			n, err := io.ReadFull(res.Body, b[:len(say)])
			if err != nil || string(b[:n]) != strings.ToUpper(say) {
				p.t.Fatalf("%q %v", b[:n], err)
			}
		}
		_ = out.Close()
		if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
			p.t.Errorf("%q %v", rest, err)
		}
	})
}
