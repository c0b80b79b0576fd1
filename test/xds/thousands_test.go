// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds"
)

// changes is how many changes each way of delivery sees.
func changes() int {
	if testing.Short() {
		return 40
	}
	return 350 // Thousands, in six ways.
}

// town is a configuration that changes everywhere: change i leads all routes to a cluster
// of its own, beside which the next one is there already.
type town struct {
	source string
	ups    []*proxytest.Upstream
	pairs  []*tlstest.Pair
}

func (w town) world(i int) world { return world{w.source, fmt.Sprint("c", i), w.ups[i%2].Addr()} }

func (w town) resources(t testing.TB, i int) map[resourcev3.Type][]types.Resource {
	at := w.world(i)
	secure := message(t, &listenerv3.Listener{}, `{name: secure, address: {socket_address: {address: 127.0.0.2, port_value: 0}}, filter_chains: [{
  transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
    common_tls_context: {tls_certificate_sds_secret_configs: [{name: server, sds_config: `+w.source+`}]}}},
  filters: [{name: echo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}]}`)
	// A listener that is changed, and one that is new.
	other := message(t, &listenerv3.Listener{}, fmt.Sprintf(`{name: other, stat_prefix: other, metadata: {filter_metadata: {change: {n: %d}}}, address: {socket_address: {address: 127.0.0.3, port_value: 0}}, filter_chains: [{
  filters: [{name: echo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}]}`, i))
	fresh := proto.CloneOf(other)
	fresh.Name, fresh.StatPrefix = fmt.Sprint("fresh-", i), fmt.Sprint("fresh-", i)
	pair := w.pairs[i%2]
	out := map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: {at.listener(t), secure, other, fresh},
		resourcev3.RouteType:    {at.routes(t)},
		resourcev3.SecretType: {&tlsv3.Secret{Name: "server", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(pair.CertPEM), PrivateKey: inline(pair.KeyPEM),
		}}}},
	}
	for n := max(0, i-1); n <= i+1; n++ {
		out[resourcev3.ClusterType] = append(out[resourcev3.ClusterType], w.world(n).clusters(t))
		out[resourcev3.EndpointType] = append(out[resourcev3.EndpointType], w.world(n).endpoints(t))
	}
	return out
}

// traffic asks by plain text and by TLS until it is stopped; each request must be answered.
func traffic(t *testing.T, p *proxytest.Proxy, ca *tlstest.CA) (stop func() (requests int)) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		c := proxytest.Dial(t, at(t, p, "127.0.0.1:"))
		defer func() { c.Close() }()
		for ; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if r := c.Do(plain); r.StatusCode != 200 {
				t.Errorf("got %v", r)
				return
			} else if r.Close { // Of a listener that was changed.
				c.Close()
				c = proxytest.Dial(t, at(t, p, "127.0.0.1:"))
			}
		}
	})
	secure := at(t, p, "127.0.0.2:")
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			c, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: ca.Pool(), ServerName: "town.test"})
			if err == nil {
				_, err = c.Write([]byte("x"))
			}
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if err != nil {
				t.Errorf("by TLS: %v", err)
				return
			}
			_ = c.Close()
		}
	})
	return func() int {
		close(done)
		wg.Wait()
		return n
	}
}

// at waits for the listener at an address and returns where that is.
func at(t *testing.T, p *proxytest.Proxy, prefix string) (addr string) {
	t.Helper()
	proxytest.Eventually(t, "the listeners", func() ([]string, bool) {
		all := p.Listeners()
		for _, a := range all {
			if strings.HasPrefix(a, prefix) {
				addr = a
				return all, true
			}
		}
		return all, false
	})
	return addr
}

// room is what the process takes.
type room struct {
	goroutines, files int
	heap              uint64
}

func taken(t *testing.T) room {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return room{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

func (w town) ca(t *testing.T) (town, *tlstest.CA) {
	ca := tlstest.NewCA(t, "ca")
	for range 2 {
		w.pairs = append(w.pairs, ca.Issue(t, tlstest.Leaf{DNS: []string{"town.test"}}))
	}
	for i := range 2 {
		w.ups = append(w.ups, proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK(fmt.Sprint("up-", i)))))
	}
	return w, ca
}

// grown compares what is taken now with what was taken after the first changes.
func grown(t *testing.T, before room, requests, changes int) {
	t.Helper()
	var after room
	proxytest.Eventually(t, "goroutines and files", func() (room, bool) {
		after = taken(t)
		return after, after.goroutines <= before.goroutines+20 && after.files <= before.files+20
	})
	t.Logf("%d changes, %d requests: %d then %d goroutines, %d then %d files, %d then %d KiB", changes, requests,
		before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
	if after.heap > before.heap+before.heap/2+16<<20 {
		t.Errorf("the heap has grown from %d to %d KiB", before.heap>>10, after.heap>>10)
	}
}

// Changes without end, of listeners, routes, clusters, endpoints and secrets at once, cost
// no request, and leave nothing behind.
func TestThousands(t *testing.T) {
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			w, ca := town{source: mode.source}.ca(t)
			s := newServer(t, mode.ads != "")
			set := func(i int) {
				snapshot, err := cachev3.NewSnapshot(fmt.Sprint(i), w.resources(t, i))
				if err != nil {
					t.Fatal(err)
				}
				if err := s.cache.SetSnapshot(context.Background(), "edge-1", snapshot); err != nil {
					t.Fatal(err)
				}
			}
			set(0)
			p := start(t, bootstrap(mode.ads, mode.source), s.addr)
			w.follow(t, p, ca, set)
		})
	}
}

// Our own server does the same, and a proxy that makes clusters when they are asked for, by deltas.
func TestThousandsByOurServer(t *testing.T) {
	for name, boot := range map[string]string{"delta": deferred(bootstrap("DELTA_GRPC", aggregated)), "state of the world": bootstrap("GRPC", aggregated)} {
		t.Run(name, func(t *testing.T) {
			w, ca := town{source: aggregated}.ca(t)
			var store xds.Store
			_, addr := weirServer(t, &store)
			set := func(i int) {
				b := &xds.Builder{}
				for kind, list := range w.resources(t, i) {
					for _, m := range list {
						put(b, kind, m)
					}
				}
				store.Publish(b.Build(fmt.Sprint(i)))
			}
			set(0)
			w.follow(t, start(t, boot, addr), ca, set)
		})
	}
}

func put(b *xds.Builder, kind resourcev3.Type, m types.Resource) {
	name := cachev3.GetResourceName(m)
	switch kind {
	case resourcev3.ListenerType:
		b.Listeners().Put(name, m.(*listenerv3.Listener), xds.Origin{})
	case resourcev3.RouteType:
		b.Routes().Put(name, m.(*routev3.RouteConfiguration), xds.Origin{})
	case resourcev3.SecretType:
		b.Secrets().Put(name, m.(*tlsv3.Secret), xds.Origin{})
	case resourcev3.ClusterType:
		b.Clusters().Put(name, m.(*clusterv3.Cluster), xds.Origin{})
	case resourcev3.EndpointType:
		b.Endpoints().Put(name, m.(*endpointv3.ClusterLoadAssignment), xds.Origin{})
	}
}

// follow makes the changes, each when the one before is in use.
func (w town) follow(t *testing.T, p *proxytest.Proxy, ca *tlstest.CA, set func(int)) {
	t.Helper()
	addr := at(t, p, "127.0.0.1:")
	answered(t, addr, "up-0")
	stop := traffic(t, p, ca)
	n := changes()
	var before room
	probe := proxytest.Dial(t, addr)
	defer func() { probe.Close() }()
	for i := 1; i <= n; i++ {
		set(i)
		proxytest.Eventually(t, "the answer", func() (string, bool) {
			r := probe.Do(plain)
			if r.Close {
				probe.Close()
				probe = proxytest.Dial(t, addr)
			}
			return r.Content, r.Content == fmt.Sprint("up-", i%2)
		})
		p.WaitCounter("cluster_manager.cluster_added", uint64(i+3)) // The server's, the first, and those up to the next one.
		if i == n/4 {
			before = taken(t)
		}
	}
	grown(t, before, stop(), n)
	for _, c := range []string{"listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected", "http.test.rds.routes.update_rejected"} {
		if got := p.Counter(c); got != 0 {
			t.Errorf("%s is %d", c, got)
		}
	}
}
