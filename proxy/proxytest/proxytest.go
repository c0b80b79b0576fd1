// SPDX-License-Identifier: Apache-2.0

// Package proxytest is the test kit of the whole data plane: a proxy running in
// the test's process from a string of Envoy YAML, clients that send exact bytes,
// and upstreams that record exactly the bytes they got and answer exact bytes:
//
//	up := proxytest.NewUpstream(t, proxytest.Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
//	p := proxytest.Start(t, proxytest.Edge{}.YAML(), proxytest.Options{
//		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
//	})
//	c := p.Dial()
//	c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
//	res := c.Response("GET")
//
// Everything is closed when the test ends, and every wait has a deadline, after
// which the test fails. The kit speaks HTTP/1 and knows nothing of TLS.
package proxytest

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"weir.dev/weir/proxy"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// Patience is how long the kit waits for anything before it fails the test: long enough for a machine that does much else.
const Patience = 30 * time.Second

// Options are what a test proxy is made with.
type Options struct {
	// Extensions is what the proxy can do, usually ext/all. It is required.
	Extensions *extension.Registry
	// Backends are the addresses ("127.0.0.1:1234", or a socket's path) that
	// stand for {{name}} in the YAML, each as an Envoy address.
	Backends map[string]string
	// Concurrency is the number of event loops; 0 is one.
	Concurrency int
	// DrainTime bounds a drain; 0 is 10 s.
	DrainTime time.Duration
	// Gradual drains as the proxy does by default, more and more; otherwise every
	// response announces the end at once.
	Gradual bool
	// Log is the proxy's own log; nil discards it.
	Log *slog.Logger
	// ServiceNode and ServiceCluster are who the proxy is, if the YAML does not say.
	ServiceNode, ServiceCluster string
}

// Proxy is a running proxy.
type Proxy struct {
	*proxy.Proxy
	t        testing.TB
	dir      string
	backends map[string]string
}

// Start runs a proxy from an Envoy bootstrap in YAML until the test ends. In the
// text {{name}} is the address of a backend of the options, {{dir}} a directory
// of the test, {{log}} a file for an access log (see [Proxy.LogLines]) and
// {{router}} a router filter. Listeners should have port 0.
func Start(t testing.TB, yaml string, o Options) *Proxy {
	t.Helper()
	p, err := TryStart(t, yaml, o)
	if err != nil {
		t.Fatalf("start the proxy: %v", err)
	}
	return p
}

// TryStart is Start for a configuration that may be refused.
func TryStart(t testing.TB, yaml string, o Options) (*Proxy, error) {
	t.Helper()
	p := &Proxy{t: t, dir: t.TempDir(), backends: o.Backends}
	b, positions, err := p.load(yaml)
	if err != nil {
		return nil, err
	}
	p.Proxy, err = proxy.New(proxy.Options{
		ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster,
		Bootstrap: b, Positions: positions, Concurrency: max(o.Concurrency, 1), DrainTime: cmp.Or(o.DrainTime, 10*time.Second),
		DrainImmediately: !o.Gradual, Log: o.Log, Extensions: o.Extensions, Version: "test",
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(p.Close)
	return p, nil
}

func (p *Proxy) load(yaml string) (*bootstrapv3.Bootstrap, *load.Positions, error) {
	p.t.Helper()
	b, positions, problems := load.Bootstrap("test.yaml", []byte(p.expand(yaml)), load.Options{})
	return b, positions, xds.Err(problems)
}

var placeholder = regexp.MustCompile(`\{\{([a-z0-9_-]+)\}\}`)

func (p *Proxy) expand(yaml string) string {
	p.t.Helper()
	return placeholder.ReplaceAllStringFunc(yaml, func(s string) string {
		name := strings.Trim(s, "{}")
		switch name {
		case "dir":
			return p.dir
		case "log":
			return p.logPath()
		case "router":
			return `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`
		}
		a, ok := p.backends[name]
		if !ok {
			p.t.Fatalf("the configuration names {{%s}}, which Options.Backends does not", name)
		}
		return Address(a)
	})
}

// Address is an address as Envoy's YAML has it, on one line.
func Address(a string) string {
	if strings.HasPrefix(a, "/") {
		return "{pipe: {path: " + a + "}}"
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		panic("proxytest: not an address: " + a)
	}
	return "{socket_address: {address: \"" + host + "\", port_value: " + port + "}}"
}

// Update applies another bootstrap's resources, with the same placeholders, and
// returns the problems.
func (p *Proxy) Update(yaml string) []xds.Problem {
	p.t.Helper()
	b, _, err := p.load(yaml)
	if err != nil {
		p.t.Fatalf("load the update: %v", err)
	}
	return p.Apply(xds.FromBootstrap(b, "2", nil))
}

// Addr is where the first listener is bound.
func (p *Proxy) Addr() string {
	p.t.Helper()
	all := p.Listeners()
	if len(all) == 0 {
		p.t.Fatal("the proxy has no listener")
	}
	return all[0]
}

// Metric returns a statistic by its full name, such as
// "http.test.downstream_rq_2xx"; ok is false if there is none.
func (p *Proxy) Metric(name string) (m stats.Metric, ok bool) {
	p.Stats().Visit(func(v stats.Metric) {
		if v.Name == name {
			m, ok = v, true
		}
	})
	return m, ok
}

// Counter returns a counter's value; one that does not exist fails the test.
func (p *Proxy) Counter(name string) uint64 {
	p.t.Helper()
	m, ok := p.Metric(name)
	if !ok {
		p.t.Fatalf("there is no statistic %s", name)
	}
	return m.Count
}

// Gauge returns a gauge's value; one that does not exist fails the test.
func (p *Proxy) Gauge(name string) int64 {
	p.t.Helper()
	m, ok := p.Metric(name)
	if !ok {
		p.t.Fatalf("there is no statistic %s", name)
	}
	return m.Level
}

// WaitCounter waits until a counter is want and fails the test if it never is: one that the proxy goes on counting by
// itself, as attempts that it repeats every few milliseconds, may have passed it unseen (see [Proxy.WaitCounterPast]).
func (p *Proxy) WaitCounter(name string, want uint64) {
	p.t.Helper()
	Eventually(p.t, name, func() (uint64, bool) {
		m, _ := p.Metric(name)
		return m.Count, m.Count == want
	})
}

// WaitCounterPast waits until a counter is least or more.
func (p *Proxy) WaitCounterPast(name string, least uint64) {
	p.t.Helper()
	Eventually(p.t, name, func() (uint64, bool) {
		m, _ := p.Metric(name)
		return m.Count, m.Count >= least
	})
}

// WaitGauge waits until a gauge is want.
func (p *Proxy) WaitGauge(name string, want int64) {
	p.t.Helper()
	Eventually(p.t, name, func() (int64, bool) {
		m, _ := p.Metric(name)
		return m.Level, m.Level == want
	})
}

// Eventually asks again and again until ok is true, and fails the test, telling
// the last value, if that takes longer than Patience.
func Eventually[T any](t testing.TB, what string, ask func() (value T, ok bool)) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		v, ok := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s is %v after %v", what, v, Patience)
		}
	}
}

func (p *Proxy) logPath() string { return filepath.Join(p.dir, "access.log") }

// LogLines waits until the access log {{log}} has n lines or more and returns
// all of them.
func (p *Proxy) LogLines(n int) []string {
	p.t.Helper()
	var lines []string
	Eventually(p.t, "the access log", func() ([]string, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := p.FlushLogs(ctx); err != nil {
			p.t.Fatalf("flush the access log: %v", err)
		}
		b, err := os.ReadFile(p.logPath())
		if err != nil {
			p.t.Fatalf("read the access log: %v", err)
		}
		lines = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(b) == 0 {
			lines = nil
		}
		return lines, len(lines) >= n
	})
	return lines
}
