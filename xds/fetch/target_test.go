// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// target notes what it is given. A version that begins with "bad" is refused.
type target struct {
	mu      sync.Mutex
	news    chan struct{}
	put     map[string]string // name to version
	updates int
	fails   int
	forgot  []string
	up      []bool
	warm    chan struct{}
	// throttled are the streams that had to wait, and released how many did no more.
	throttled []Stream
	released  int
}

func newTarget() *target {
	return &target{news: make(chan struct{}, 100_000), put: map[string]string{}}
}

func (t *target) Apply(u *Update) (out []Refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.updates++
	for _, r := range u.Put {
		if strings.HasPrefix(r.Version, "bad") {
			out = append(out, Refusal{r.Name, errors.New("is bad")})
			continue
		}
		t.put[r.Name] = r.Version
	}
	for _, n := range u.Gone {
		delete(t.put, n)
	}
	t.news <- struct{}{}
	return out
}

func (t *target) Failed(string, xds.Kind, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails++
	t.news <- struct{}{}
}

func (t *target) Connected(_ Stream, up bool, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = append(t.up, up)
}

func (t *target) Throttled(s Stream, waits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if waits {
		t.throttled = append(t.throttled, s)
	} else {
		t.released++
	}
}

func (t *target) Forget(_ string, _ xds.Kind, names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgot = append(t.forgot, names...)
}

func (t *target) Warm() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.warm == nil {
		return nil
	}
	return t.warm
}

// seen returns how many updates and failures there were.
func (t *target) seen() (updates, fails int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.updates, t.fails
}

func (t *target) forgotten() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.forgot)
}

// has returns the version of a resource, "" if there is none.
func (t *target) has(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put[name]
}

// call is one stream, as a server has it.
type call struct {
	grpc.ServerStream
	t      testing.TB
	number int
	method string
	delta  bool
}

// state and change read what the client says next; nil at the end of the stream.
func (c *call) state() *discoveryv3.DiscoveryRequest {
	q := &discoveryv3.DiscoveryRequest{}
	if c.RecvMsg(q) != nil {
		return nil
	}
	return q
}

func (c *call) change() *discoveryv3.DeltaDiscoveryRequest {
	q := &discoveryv3.DeltaDiscoveryRequest{}
	if c.RecvMsg(q) != nil {
		return nil
	}
	return q
}

func (c *call) header(name string) []string {
	md, _ := metadata.FromIncomingContext(c.Context())
	return md.Get(name)
}

// say sends a state of the world of clusters.
func (c *call) say(version string, resources ...*anypb.Any) error {
	return c.SendMsg(&discoveryv3.DiscoveryResponse{VersionInfo: version, Nonce: version, TypeUrl: clusterURL, Resources: resources})
}

const clusterURL = wire.Prefix + "envoy.config.cluster.v3.Cluster"

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func cluster(t testing.TB, name string) *anypb.Any {
	return pack(t, &clusterv3.Cluster{Name: name})
}

// lasting is a cluster with a TTL, or a heartbeat of it.
func lasting(t testing.TB, name string, seconds int64, heartbeat bool) *discoveryv3.Resource {
	r := &discoveryv3.Resource{Name: name, Ttl: &durationpb.Duration{Seconds: seconds}}
	if !heartbeat {
		r.Resource = cluster(t, name)
	}
	return r
}

// server is a management server whose streams are handled by a function, reached by the
// name of a cluster and in memory.
type server struct {
	t       testing.TB
	handle  func(*call) error
	mu      sync.Mutex
	lis     *bufconn.Listener // nil while it is down
	srv     *grpc.Server
	done    sync.WaitGroup
	streams int
	dials   int
	log     bytes.Buffer
}

func newServer(t testing.TB, handle func(*call) error) *server {
	s := &server{t: t, handle: handle}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, g grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(g)
		s.mu.Lock()
		s.streams++
		c := &call{ServerStream: g, t: s.t, number: s.streams, method: method, delta: strings.Contains(method, "Delta")}
		s.mu.Unlock()
		return s.handle(c)
	}))
	s.mu.Lock()
	s.lis, s.srv = lis, srv
	s.mu.Unlock()
	s.done.Go(func() { _ = srv.Serve(lis) })
}

func (s *server) stop() {
	s.mu.Lock()
	srv := s.srv
	s.lis, s.srv = nil, nil
	s.mu.Unlock()
	if srv != nil {
		srv.Stop()
	}
	s.done.Wait()
}

func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	lis := s.lis
	s.dials++
	s.mu.Unlock()
	if lis == nil {
		return nil, errors.New("nobody is there")
	}
	return lis.DialContext(ctx)
}

// Write implements io.Writer, for the log.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *server) counts() (streams, dials int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams, s.dials
}

// client returns a client that asks the server.
func (s *server) client(tg *target, api *corev3.ApiConfigSource) *Client {
	c := New(Options{
		Target: tg, ADS: api, Node: &corev3.Node{Id: "edge-1", Cluster: "edges"},
		Dial: s.dial, Log: slog.New(slog.NewTextHandler(s, nil)),
	})
	s.t.Cleanup(c.Close)
	return c
}

func grpcAPI(kind corev3.ApiConfigSource_ApiType) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{ApiType: kind, TransportApiVersion: corev3.ApiVersion_V3, GrpcServices: []*corev3.GrpcService{{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds"}},
	}}}
}

var aggregated = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}

func own(api *corev3.ApiConfigSource) *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: api}}
}
