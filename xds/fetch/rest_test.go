// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/xds"
)

// web is a management server of REST, in memory.
type web struct {
	*server // for its log and counts
	mu      sync.Mutex
	answer  http.HandlerFunc
	asked   []*discoveryv3.DiscoveryRequest
	paths   []string
	times   []time.Time
	dialled []string
}

func newWeb(t *testing.T) (*web, *Client, *target) {
	w := &web{server: &server{t: t}}
	lis := bufconn.Listen(1 << 16)
	srv := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		q := &discoveryv3.DiscoveryRequest{}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = protojson.Unmarshal(body, q)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked %s %s: %v", r.Method, body, err)
		}
		w.mu.Lock()
		w.asked, w.paths, w.times = append(w.asked, q), append(w.paths, r.Host+r.URL.Path), append(w.times, time.Now())
		answer := w.answer
		w.mu.Unlock()
		answer(out, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis)
	}()
	tg := newTarget()
	c := New(Options{
		Target: tg, Node: &corev3.Node{Id: "edge-1", Cluster: "edges"}, Log: slog.New(slog.NewTextHandler(w, nil)),
		Dial: func(ctx context.Context, cluster, alpn string) (net.Conn, error) {
			w.mu.Lock()
			w.dialled = append(w.dialled, cluster+" "+alpn)
			w.mu.Unlock()
			return lis.DialContext(ctx)
		},
	})
	t.Cleanup(func() { c.Close(); _ = srv.Close(); <-done })
	return w, c, tg
}

func (w *web) set(f http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// say answers with clusters.
func (w *web) say(version string, names ...string) {
	r := &discoveryv3.DiscoveryResponse{VersionInfo: version, TypeUrl: clusterURL}
	for _, n := range names {
		r.Resources = append(r.Resources, cluster(w.t, n))
	}
	body, err := protojson.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.set(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(body) })
}

func (w *web) status(code int, body string) {
	w.set(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Location", "/elsewhere")
		out.WriteHeader(code)
		_, _ = io.WriteString(out, body)
	})
}

// noted returns what was asked, and of whom.
func (w *web) noted() (paths, dialled []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.paths), slices.Clone(w.dialled)
}

func (w *web) last() *discoveryv3.DiscoveryRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[len(w.asked)-1]
}

func restAPI(clusters ...string) *corev3.ConfigSource {
	return own(&corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_REST, TransportApiVersion: corev3.ApiVersion_V3, ClusterNames: clusters,
		RefreshDelay: durationpb.New(10 * time.Second), RequestTimeout: durationpb.New(2 * time.Second),
	})
}

// By REST, a server is asked again and again, told what was wrong with what it said, and
// nothing that it does takes away what was good.
func TestREST(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, tg := newWeb(t)
		w.say("1", "a", "b")
		c.Subscribe("rest", restAPI("xds"), xds.KindCluster, Wildcard)
		after(time.Second)
		paths, dialled := w.noted()
		if tg.has("a") != "1" || tg.has("b") != "1" || paths[0] != "xds/v3/discovery:clusters" || dialled[0] != "xds http/1.1" {
			t.Fatalf("asked %q of %q", paths, dialled)
		}
		if q := w.last(); q.GetVersionInfo() != "" || len(q.GetResourceNames()) != 0 || q.GetNode().GetId() != "edge-1" || q.GetTypeUrl() != clusterURL {
			t.Errorf("asked %v", q)
		}
		stays := func(when, log string) {
			t.Helper()
			_, before := tg.seen()
			lines := strings.Count(w.logged(), log)
			after(45 * time.Second)
			_, fails := tg.seen()
			if tg.has("a") != "1" || tg.has("b") != "1" || (fails == before) != (log == "") {
				t.Errorf("%s: has a %q and b %q after %d failures", when, tg.has("a"), tg.has("b"), fails-before)
			}
			if got := strings.Count(w.logged(), log) - lines; log != "" && got != 1 {
				t.Errorf("%s: told %d times; the log is %s", when, got, w.logged())
			}
		}
		w.status(304, "")
		stays("not modified", "")
		if q := w.last(); q.GetVersionInfo() != "1" {
			t.Errorf("asked %v", q)
		}
		w.status(503, "no")
		stays("an error", "the answer is 503")
		w.status(302, "")
		stays("a redirect", "the answer is 302")
		if paths, _ := w.noted(); slices.Contains(paths, "xds/elsewhere") {
			t.Error("the redirect is followed")
		}
		w.status(200, "<html>")
		stays("garbage", "cannot be read")
		w.status(200, `{"resources":[{"@type":"type.googleapis.com/nobody.Knows"}]}`)
		stays("a type that nobody knows", "cannot be read")
		w.set(func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Second) })
		stays("silence", "deadline exceeded")
		w.set(func(out http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := out.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		})
		stays("an answer without end", "larger than 64 MiB")
		w.say("bad", "a")
		after(45 * time.Second)
		if d := w.last().GetErrorDetail(); tg.has("a") != "1" || w.last().GetVersionInfo() != "1" || d.GetMessage() != "a: is bad" {
			t.Errorf("refused: the server is told %v", w.last())
		}
		w.say("2", "a")
		after(45 * time.Second)
		if d := w.last().GetErrorDetail(); tg.has("a") != "2" || tg.has("b") != "" || d != nil || !strings.Contains(w.logged(), "fetched again") {
			t.Errorf("at last it has a %q, and the server is told %v", tg.has("a"), d)
		}
		c.Close()
		differ := false
		for i := 1; i < len(w.times); i++ {
			gap := w.times[i].Sub(w.times[i-1])
			if gap < 10*time.Second-2*time.Second || gap > 22*time.Second {
				t.Errorf("asked again after %v", gap)
			}
			differ = differ || i > 1 && gap != w.times[i-1].Sub(w.times[i-2])
		}
		if !differ {
			t.Error("asks without jitter")
		}
	})
}

// Of several clusters, the next is asked when one fails; names that are new are asked
// for at once, and those of no use to anybody are forgotten.
func TestRESTNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, tg := newWeb(t)
		w.status(500, "")
		cs := restAPI("one", "two|with bars")
		c.Subscribe("rest", cs, xds.KindEndpoints, "a")
		after(50 * time.Second)
		paths, dialled := w.noted()
		if len(paths) < 3 || paths[0] != "one/v3/discovery:endpoints" || paths[1] != "xds/v3/discovery:endpoints" || dialled[1] != "two|with bars http/1.1" || paths[2] != paths[0] {
			t.Errorf("asked %q of %q", paths, dialled)
		}
		asked := func() int { paths, _ := w.noted(); return len(paths) }
		n := asked()
		c.Subscribe("rest", cs, xds.KindEndpoints, "b")
		after(0)
		if asked() != n+1 || !slices.Equal(w.last().GetResourceNames(), []string{"a", "b"}) {
			t.Errorf("asked %v", w.last())
		}
		c.Unsubscribe("rest", xds.KindEndpoints, "a")
		after(0)
		if got := tg.forgotten(); asked() != n+1 || !slices.Equal(got, []string{"a"}) {
			t.Errorf("asked %d times more, forgot %v", asked()-n, got)
		}
		c.Unsubscribe("rest", xds.KindEndpoints, "b")
		after(linger + time.Second)
		n = asked()
		after(time.Hour)
		if asked() != n {
			t.Error("asks although nothing is wanted")
		}
		c.Subscribe("rest", cs, xds.KindVirtualHost, "v")
		after(time.Hour)
		if got := strings.Count(w.logged(), "cannot be fetched by REST"); got != 1 {
			t.Errorf("told %d times of a kind that REST has not", got)
		}
	})
}

// Routes and listeners are fetched once clusters are ready, and not much later.
func TestRESTWaitsForClusters(t *testing.T) {
	for _, ready := range []bool{true, false} {
		t.Run(fmt.Sprint("ready ", ready), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, c, tg := newWeb(t)
				w.status(304, "")
				tg.warm = make(chan struct{})
				c.Subscribe("rest", restAPI("xds"), xds.KindListener, Wildcard)
				c.Subscribe("rest", restAPI("xds"), xds.KindCluster, Wildcard)
				after(time.Second)
				if paths, _ := w.noted(); !slices.Equal(paths, []string{"xds/v3/discovery:clusters"}) {
					t.Errorf("asked for %q", paths)
				}
				if ready {
					tg.mu.Lock()
					close(tg.warm)
					tg.warm = nil
					tg.mu.Unlock()
					after(0)
				} else {
					after(warmLimit - time.Second)
				}
				if paths, _ := w.noted(); !slices.Contains(paths, "xds/v3/discovery:listeners") {
					t.Errorf("asked for %q", paths)
				}
			})
		})
	}
}
