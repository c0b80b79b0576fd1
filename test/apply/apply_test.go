// SPDX-License-Identifier: Apache-2.0

// Package apply holds the tests of configuration that changes while the proxy
// serves.
package apply

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

// snapshot reads a bootstrap as a snapshot for Apply.
func snapshot(t *testing.T, yaml, version string, backends map[string]string) *xds.Snapshot {
	t.Helper()
	for name, a := range backends {
		yaml = strings.ReplaceAll(yaml, "{{"+name+"}}", proxytest.Address(a))
	}
	yaml = strings.ReplaceAll(yaml, "{{router}}", router)
	b, positions, problems := load.Bootstrap("test.yaml", []byte(yaml), load.Options{})
	if xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	return xds.FromBootstrap(b, version, positions.Origin)
}

const router = `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`

const plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

// direct is a bootstrap whose only route answers by itself.
func direct(body string) string {
	return proxytest.Edge{Routes: `- {match: {prefix: "/"}, direct_response: {status: 200, body: {inline_string: "` + body + `"}}}`}.YAML()
}

func start(t *testing.T, yaml string) (*proxytest.Proxy, map[string]string) {
	t.Helper()
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("up")))
	backends := map[string]string{"up": up.Addr()}
	return proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: backends, Concurrency: 2}), backends
}

func TestApplyChangesRoutesWithoutLosingARequest(t *testing.T) {
	p, backends := start(t, direct("v0"))
	addr := p.Listeners()[0]
	stop := make(chan struct{})
	var bad, served atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := proxytest.Dial(t, addr)
			defer func() { c.Close() }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := c.Do(plain)
				if r.StatusCode != 200 || !strings.HasPrefix(r.Content, "v") {
					bad.Add(1)
				}
				served.Add(1)
				if r.Close { // The old configuration's connections are asked to end.
					c.Close()
					c = proxytest.Dial(t, addr)
				}
			}
		})
	}
	for i := 1; i <= 50; i++ {
		body := fmt.Sprintf("v%d", i)
		if problems := p.Apply(snapshot(t, direct(body), body, backends)); xds.HasErrors(problems) {
			t.Error(xds.Err(problems))
			break
		}
		c := proxytest.Dial(t, addr)
		if r := c.Do(plain); r.Content != body {
			t.Errorf("after %s was applied a new connection got %q", body, r.Content)
		}
		c.Close()
	}
	close(stop)
	wg.Wait()
	if bad.Load() > 0 || served.Load() == 0 {
		t.Fatalf("%d of %d requests failed", bad.Load(), served.Load())
	}
}

func TestApplyKeepsTheLastGood(t *testing.T) {
	p, backends := start(t, direct("good"))
	broken := strings.Replace(direct("bad"), "stat_prefix: test", "stat_prefix: test\n          codec_type: HTTP3", 1)
	if broken == direct("bad") {
		t.Fatal("the bootstrap has another form than the test thinks")
	}
	problems := p.Apply(snapshot(t, broken, "broken", backends))
	if !xds.HasErrors(problems) || !strings.Contains(xds.Err(problems).Error(), "codec_type") {
		t.Fatalf("problems: %v", problems)
	}
	if r := p.Dial().Do(plain); r.Content != "good" {
		t.Fatalf("got %q", r.Content)
	}
}

func TestApplyRemovesWhatIsGone(t *testing.T) {
	p, backends := start(t, proxytest.Edge{}.YAML())
	if r := p.Dial().Do(plain); r.Content != "up" {
		t.Fatalf("got %q", r.Content)
	}
	empty, _, problems := load.Bootstrap("empty.yaml", []byte("static_resources: {}"), load.Options{})
	if xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	if problems := p.Apply(xds.FromBootstrap(empty, "empty", func(string) xds.Origin { return xds.Origin{} })); xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	if got := p.Listeners(); len(got) > 0 {
		t.Fatalf("listeners left: %v", got)
	}
	// The address is free for the same configuration to come back to.
	if problems := p.Apply(snapshot(t, proxytest.Edge{}.YAML(), "back", backends)); xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	if r := p.Dial().Do(plain); r.Content != "up" {
		t.Fatalf("got %q", r.Content)
	}
}

// A connection that was open before its routes changed is answered by the old ones
// once more, and the cluster that only they name is still there for it.
func TestApplyKeepsClustersOfOldRoutes(t *testing.T) {
	edge := func(name string) string {
		return proxytest.Edge{
			Routes:   `- {match: {prefix: /}, route: {cluster: ` + name + `}}`,
			Clusters: "- {name: " + name + ", load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {{up}}}}]}]}}",
		}.YAML()
	}
	p, backends := start(t, edge("first"))
	c := p.Dial()
	if r := c.Do(plain); r.Content != "up" || r.Close {
		t.Fatalf("got %v", r)
	}
	if problems := p.Apply(snapshot(t, edge("second"), "2", backends)); xds.HasErrors(problems) {
		t.Fatal(xds.Err(problems))
	}
	if r := c.Do(plain); r.Content != "up" || !r.Close {
		t.Errorf("a request on the old connection got %v", r)
	}
	proxytest.Eventually(t, "the cluster of the old routes", func() (bool, bool) {
		_, there := p.Metric("cluster.first.upstream_cx_total")
		return there, !there
	})
}
