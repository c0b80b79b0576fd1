// SPDX-License-Identifier: Apache-2.0

// Package serve is a management server: it gives the snapshots of stores to proxies,
// Weir's and Envoy's, over the aggregated stream, as deltas and as states of the world.
//
// A client gets what it subscribes to and, of a newer snapshot, what has changed in
// that; what a change costs does not depend on how much there is. Changes go out in
// stages, each once the client has answered the one before: clusters and endpoints
// first, then listeners and routes, and last what is gone, so that nothing ever points
// to what a client does not have. What each client has taken and refused is told to
// whoever asks.
//
// The package owns no goroutine: each stream runs on those of its gRPC server, and ends
// with it.
package serve

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// Options are what a Server is made with.
type Options struct {
	// Store returns the store whose snapshots a node is served: that of its group. An
	// error, best one of gRPC's status package, refuses the client; ctx has its
	// certificate (peer) and its token (metadata).
	Store func(ctx context.Context, node *corev3.Node) (*xds.Store, error)
	// Changed, if not nil, is told whenever a client comes, answers or goes. It must not
	// call the server's methods.
	Changed func(Client)
	// Identifier is how the server calls itself to clients.
	Identifier string
	// AnswerLimit bounds how long a stage waits for the client's answer; 0 is 5 s.
	AnswerLimit time.Duration
	Log         *slog.Logger
}

// A Client is one stream, as it stands.
type Client struct {
	// ID counts the streams of the server.
	ID   uint64
	Node *corev3.Node
	// Store is what it is served from.
	Store *xds.Store
	// Sent is the version of the newest snapshot that it was sent what concerns it of,
	// and Acked that of the newest of which it has answered for all, with or without
	// refusing some of it.
	Sent, Acked string
	// Refused has, for each kind of which the last answer was a refusal, its reason.
	Refused map[xds.Kind]string
	// Gone tells that the stream has ended.
	Gone bool
}

// A Server serves any number of streams.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	o     Options
	types []*wire.Type
	urls  map[string]*wire.Type
	cache encodings

	mu      sync.Mutex
	next    uint64
	clients map[uint64]Client
}

// New returns a server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AnswerLimit <= 0 {
		o.AnswerLimit = 5 * time.Second
	}
	s := &Server{o: o, types: wire.Types(), urls: map[string]*wire.Type{}, clients: map[uint64]Client{}}
	for _, t := range s.types {
		s.urls[t.URL] = t
	}
	return s
}

// Register makes the server's services known to a gRPC server.
func (s *Server) Register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// Clients returns the streams there are.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Client, 0, len(s.clients))
	for _, c := range s.clients {
		out = append(out, c)
	}
	return out
}

func (s *Server) tell(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Gone {
		delete(s.clients, c.ID)
	} else {
		s.clients[c.ID] = c
	}
	if s.o.Changed != nil {
		s.o.Changed(c)
	}
}

// StreamAggregatedResources serves states of the world.
func (s *Server) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(g.Context(), &stateWire{g})
}

// DeltaAggregatedResources serves deltas.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(g.Context(), &deltaWire{g})
}

// request is what a client says, by either protocol.
type request struct {
	node        *corev3.Node
	url         string
	nonce       string
	refusal     string
	subscribe   []string
	unsubscribe []string
	// whole tells that subscribe is all that the client wants.
	whole   bool
	initial map[string]string
}

// response is what it is told.
type response struct {
	t       *wire.Type
	version string
	nonce   string
	put     []*encoded
	gone    []string
}

// protocol is one stream in one of the protocols.
type protocol interface {
	receive() (*request, error)
	send(r *response, identifier string) error
	// state tells that a response of a kind that is Whole must have all there is.
	state() bool
}

type deltaWire struct {
	g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
}

func (d *deltaWire) state() bool { return false }

func (d *deltaWire) receive() (*request, error) {
	r, err := d.g.Recv()
	if err != nil {
		return nil, err
	}
	q := &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), subscribe: r.GetResourceNamesSubscribe(),
		unsubscribe: r.GetResourceNamesUnsubscribe(), initial: r.GetInitialResourceVersions(),
	}
	if r.GetErrorDetail() != nil {
		q.refusal = refusal(r.GetErrorDetail().GetMessage())
	}
	return q, nil
}

func (d *deltaWire) send(r *response, identifier string) error {
	out := &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: r.version, TypeUrl: r.t.URL, Nonce: r.nonce, RemovedResources: r.gone,
		ControlPlane: &corev3.ControlPlane{Identifier: identifier},
	}
	for _, e := range r.put {
		out.Resources = append(out.Resources, &discoveryv3.Resource{Name: e.name, Version: e.version, Resource: e.any})
	}
	return d.g.Send(out)
}

type stateWire struct {
	g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
}

func (w *stateWire) state() bool { return true }

func (w *stateWire) receive() (*request, error) {
	r, err := w.g.Recv()
	if err != nil {
		return nil, err
	}
	q := &request{node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), subscribe: r.GetResourceNames(), whole: true}
	if r.GetErrorDetail() != nil {
		q.refusal = refusal(r.GetErrorDetail().GetMessage())
	}
	return q, nil
}

func (w *stateWire) send(r *response, identifier string) error {
	out := &discoveryv3.DiscoveryResponse{
		VersionInfo: r.version, TypeUrl: r.t.URL, Nonce: r.nonce, ControlPlane: &corev3.ControlPlane{Identifier: identifier},
	}
	for _, e := range r.put {
		out.Resources = append(out.Resources, e.any)
	}
	return w.g.Send(out)
}

func refusal(text string) string {
	if text == "" {
		return "refused without a reason"
	}
	return text
}
