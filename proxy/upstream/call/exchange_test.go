// SPDX-License-Identifier: Apache-2.0

package call_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/upstream/call"
)

const (
	speak1 = `"max_requests_per_connection":1000`
	speak2 = `"http2_protocol_options":{}`
)

// on runs f on a task of a loop, as a stream's task runs filters, and waits for it. The
// task is given away first.
func (r *rig) on(f func(*engine.Task), given ...func(*engine.Task)) {
	r.t.Helper()
	done := make(chan struct{})
	l := r.loops[0]
	l.Post(func() {
		l.Go(engine.RunnerFunc(func(t *engine.Task) {
			defer close(done)
			for _, g := range given {
				g(t)
			}
			f(t)
		}))
	})
	<-done
}

// serveBoth serves HTTP/1 and, unencrypted, HTTP/2.
func serveBoth(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestDo(t *testing.T) {
	for name, speak := range map[string]string{"h1": speak1, "h2": speak2} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.add("a", speak, serveBoth(t, func(w http.ResponseWriter, q *http.Request) {
				body, _ := io.ReadAll(q.Body)
				w.Header().Set("X-Many", "1")
				w.WriteHeader(http.StatusEarlyHints)
				w.Header().Set("Trailer", "X-Last")
				w.WriteHeader(http.StatusTeapot)
				_, _ = fmt.Fprintf(w, "%s %s%s %d %s %s %s", q.Method, q.Host, q.RequestURI, len(body), q.Header.Get("X-Add"), q.Header.Get("X-Meta"), q.UserAgent())
				w.Header().Set("X-Last", "yes")
			}))
			headers, err := route.CompileHeaders("x", options("x-meta", "m"), route.Context{})
			if err != nil {
				t.Fatal(err)
			}
			c := call.NewClient(&call.Service{Cluster: "a", Authority: "host.example", Timeout: 5 * time.Second, Metadata: headers}, r.clusters)
			for range 3 {
				r.on(func(tk *engine.Task) {
					k := c.Begin("POST", []byte("/x?y"))
					defer k.End()
					k.Request.Add(header.NewName("x-add"), "v")
					k.Tell(nil)
					k.Body = append(k.Room(), strings.Repeat("b", 100_000)...)
					if err := k.Do(tk); err != nil {
						t.Error(err)
						return
					}
					want := "POST host.example/x?y 100000 v m weir"
					if k.Status != 418 || string(k.Content) != want || string(k.Response.Get(header.NewName("x-many"))) != "1" {
						t.Errorf("%d %q %s, want %q", k.Status, k.Content, k.Response.Get(header.NewName("x-many")), want)
					}
					if got := string(k.Trailer.Get(header.NewName("x-last"))); got != "yes" && name == "h2" {
						t.Errorf("trailer %q", got)
					}
				})
			}
		})
	}
}

// TestHostile: hosts that do what they should not end a call in time, with an error that
// says so, and leave the task as it was.
func TestHostile(t *testing.T) {
	big := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name, speak string
		script      func(*proxytest.Session)
		is          error
		has         string
	}{
		{"hangs", speak1, hang, call.ErrTimeout, ""},
		{"hangs with h2", speak2, hang, call.ErrTimeout, ""},
		{"hangs within the head", speak1, answer("HTTP/1.1 200 O"), call.ErrTimeout, ""},
		{"hangs within the body", speak1, answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), call.ErrTimeout, ""},
		{"resets", speak1, func(s *proxytest.Session) { _, _ = s.Head(); _ = s.Reset() }, nil, "reset"},
		{"resets with h2", speak2, func(s *proxytest.Session) { _, _ = s.ReadN(10); _ = s.Reset() }, nil, "reset"},
		{"closes", speak1, func(s *proxytest.Session) { _, _ = s.Head() }, nil, "EOF"},
		{"too much", speak1, answer("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + big), call.ErrTooLarge, "more than 1000 bytes"},
		{"too much in chunks", speak1, answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + big + "\r\n7d0\r\n" + big), call.ErrTooLarge, ""},
		{"nonsense", speak1, answer("hello\r\n\r\n"), nil, "status line"},
		{"nonsense with h2", speak2, answer("HTTP/1.1 400 Bad Request\r\n\r\n"), nil, ""},
		{"endless interim", speak1, func(s *proxytest.Session) {
			_, _ = s.Head()
			for s.Send("HTTP/1.1 102 P\r\n\r\n") == nil {
			}
		}, nil, "interim"},
		{"answers early", speak1, func(s *proxytest.Session) {
			_, _ = s.Head()
			_ = s.Send("HTTP/1.1 403 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
		}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.add("a", c.speak, proxytest.NewUpstream(t, c.script).Addr())
			timeout := time.Minute
			if errors.Is(c.is, call.ErrTimeout) {
				timeout = 200 * time.Millisecond
			}
			client := call.NewClient(&call.Service{Cluster: "a", Timeout: timeout, Limit: 1000}, r.clusters)
			r.on(func(tk *engine.Task) {
				k := client.Begin("POST", []byte("/"))
				k.Body = append(k.Room(), "body"...)
				err := k.Do(tk)
				switch {
				case c.name == "answers early":
					if err != nil || k.Status != 403 || string(k.Content) != "no" {
						t.Errorf("%v %d %q", err, k.Status, k.Content)
					}
				case err == nil, c.is != nil && !errors.Is(err, c.is), !strings.Contains(err.Error(), c.has), call.Abandoned(err):
					t.Errorf("%v, want %v %q", err, c.is, c.has)
				}
				k.End()
				if tk.Pending() != nil || tk.Sleep(time.Millisecond) != nil {
					t.Error("the call has left an interrupt")
				}
			})
		})
	}
}

func hang(s *proxytest.Session) { _, _ = s.ReadAll() }

func answer(text string) func(*proxytest.Session) {
	return func(s *proxytest.Session) {
		_, _ = s.ReadN(1)
		_ = s.Send(text)
		_, _ = s.ReadAll()
	}
}

// TestInterrupted: when the stream ends so does its call.
func TestInterrupted(t *testing.T) {
	gone := errors.New("client gone")
	for name, speak := range map[string]string{"h1": speak1, "h2": speak2} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			came, left := make(chan struct{}), make(chan struct{})
			r.add("a", speak, serveBoth(t, func(_ http.ResponseWriter, q *http.Request) {
				close(came)
				<-q.Context().Done()
				close(left)
			}))
			c := call.NewClient(&call.Service{Cluster: "a", Timeout: time.Hour}, r.clusters)
			r.on(func(tk *engine.Task) {
				k := c.Begin("GET", []byte("/"))
				defer k.End()
				if err := k.Do(tk); !errors.Is(err, gone) || !call.Abandoned(err) {
					t.Error(err)
				}
			}, func(tk *engine.Task) {
				go func() {
					<-came
					tk.Loop().Post(func() { tk.Interrupt(gone) })
				}()
			})
			<-left
		})
	}
}

func TestNowhere(t *testing.T) {
	r := newRig(t)
	r.add("none", speak1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	r.add("busy", `"circuit_breakers":{"thresholds":[{"max_requests":0}]}`, ln.Addr().String())
	for cluster, want := range map[string]error{"unknown": call.ErrNoCluster, "none": call.ErrNoHost, "busy": call.ErrOverflow} {
		c := call.NewClient(&call.Service{Cluster: cluster, Timeout: time.Second}, r.clusters)
		r.on(func(tk *engine.Task) {
			k := c.Begin("GET", []byte("/"))
			defer k.End()
			if err := k.Do(tk); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", cluster, err, want)
			}
		})
	}
}

// TestRestedConnections: a call on a connection that the host has closed meanwhile is made
// on another.
func TestRestedConnections(t *testing.T) {
	r := newRig(t)
	u := proxytest.NewUpstream(t, func(s *proxytest.Session) {
		if _, err := s.Head(); err == nil {
			_ = s.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
		_, _ = s.Head() // And the second request finds it closed.
	})
	r.add("a", speak1, u.Addr())
	c := call.NewClient(&call.Service{Cluster: "a", Timeout: 5 * time.Second}, r.clusters)
	for i := range 4 {
		r.on(func(tk *engine.Task) {
			k := c.Begin("POST", []byte("/"))
			defer k.End()
			if err := k.Do(tk); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		on   string
		want int
	}{{"5xx", 3}, {"connect-failure", 1}, {"retriable-4xx", 1}} {
		r := newRig(t)
		var came atomic.Int32
		r.add("a", speak1, serveBoth(t, func(w http.ResponseWriter, _ *http.Request) {
			if came.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		on, _ := route.ParseRetryOn(c.on)
		s := &call.Service{Cluster: "a", Timeout: 5 * time.Second, Retry: &call.Retry{On: on, Max: 5, Base: time.Millisecond, Most: time.Millisecond}}
		caller := call.New(r.loops, r.clusters)
		k := caller.Client(s).Begin("GET", []byte("/"))
		if err := caller.Do(context.Background(), k); err != nil {
			t.Fatal(err)
		}
		if ok := k.Status == 200; int(came.Load()) != c.want || ok != (c.want == 3) {
			t.Errorf("%s: %d after %d tries, want %d", c.on, k.Status, came.Load(), c.want)
		}
		k.End()
	}
}
