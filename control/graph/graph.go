// SPDX-License-Identifier: Apache-2.0

// Package graph is the small model between the dialects, which read objects, and
// emit, which writes Envoy's messages: gateways with their sockets, chains, hosts
// and routes, and the clusters that routes lead to.
//
// It knows structure, precedence and provenance. What a route does is a message of
// Envoy's already, and so is what else is special anywhere: an [Overlay]. The graph has
// no fields for features.
package graph

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// A Gateway is what one fleet of proxies serves.
type Gateway struct {
	ID source.Name
	// Members are the Gateways of the Gateway API that the fleet serves, the oldest first.
	Members []source.Name
	// Held tells that it cannot be known how the proxies are to be run: those that run are left
	// as they are.
	Held    bool
	Sockets []*Socket
	// Addresses that were asked for, in any order; those that are no IP addresses cannot
	// be had. Empty leaves it to who runs the proxies.
	Addresses []string
	// Limits are what the proxies' limiter is told: one for each domain.
	Limits []*rlsconfv3.RateLimitConfig
	// Sized has the sizes of requests and responses be in the statistics of clusters.
	Sized  bool
	Origin xds.Origin
}

// The ports that unprivileged proxies bind for those below 1024: so much higher, or
// if the gateway has that port itself, so much higher still.
const (
	lowest      = 1024
	higher      = 8000
	higherStill = 10000
)

// Ports that proxies in Pods have themselves: their admin, for the Pod alone, and where they
// say that they are ready, and tell their statistics.
const (
	AdminPort = 19000
	ReadyPort = 19001
)

// Bound returns the port that unprivileged proxies bind for a port of the gateway: 80
// is 8080, or 10080 if there is an 8080. Nor do they bind what is their own.
func (g *Gateway) Bound(s SocketID) int32 {
	if own := s.Port == AdminPort || s.Port == ReadyPort; s.Port >= lowest && (!own || s.UDP) {
		return s.Port
	}
	for _, o := range g.Sockets {
		if o.ID.Port == s.Port+higher && o.ID.UDP == s.UDP {
			return s.Port + higherStill
		}
	}
	return s.Port + higher
}

// A Socket is a port of a gateway. Its chains are in no order.
type Socket struct {
	ID SocketID
	// Published is another port at which a Service in front of the proxies leads to it; 0 is
	// none.
	Published int32
	Chains    []*Chain
	// Filters are listener filters: each is its configuration, by its name.
	Filters map[string]proto.Message
	// Overlay is on the Listener.
	Overlay Overlay
}

// A SocketID names a socket.
type SocketID struct {
	Gateway source.Name
	Port    int32
	UDP     bool
}

// Name is the name of the socket's Envoy listener.
func (s SocketID) Name() string {
	name := s.Gateway.String() + "/" + strconv.Itoa(int(s.Port))
	if s.UDP {
		name += "/udp"
	}
	return name
}

// A Chain is what happens to the connections of a socket that ask for Hostname. It
// has a Table, or Backends.
type Chain struct {
	// Name tells the chain from others of the socket.
	Name string
	// Hostname is a server name in TLS, a wildcard, or attach.AnyHost.
	Hostname string
	// Inspect reads the server name from TLS; without it the chain takes all
	// connections of the socket.
	Inspect bool
	// TLS is terminated if it is not nil.
	TLS *TLS
	// Table is the routes of HTTP.
	Table *TableID
	// Backends are who gets the bytes, if there is no Table. None refuses them.
	Backends []Backend
	// BySource has clusters that choose hosts by a hash take that of the client's address, if
	// there is no Table.
	BySource bool
	// Network are filters that come before: each is its configuration, by its name.
	Network map[string]proto.Message
	// Overlay is on the FilterChain.
	Overlay Overlay
	// Manager is on the HttpConnectionManager, if there is a Table, and otherwise on the
	// TcpProxy.
	Manager Overlay
	// Filters are HTTP filters that do something whatever the route says: each is its
	// configuration, by its name. In which order is emit's to know.
	Filters map[string]proto.Message
	// Idle are HTTP filters that run for routes that configure them, and for no others.
	Idle map[string]proto.Message
	// Moves change the order of HTTP filters, one after the other.
	Moves []Move
	// Clusters are those that the filters call.
	Clusters []ClusterID
	// Secrets are names of secrets that the filters have.
	Secrets []string
	Origin  xds.Origin
}

// A Move puts the HTTP filters called Filter before all that are called Next, or after
// them. It does nothing where one of both is missing.
type Move struct {
	Filter, Next string
	After        bool
}

// TLS says how a chain's TLS is terminated.
type TLS struct {
	// Certificates and CA are names of secrets; CA verifies clients if it is not empty.
	Certificates []string
	CA           string
	// Optional takes clients without a certificate, and those whose does not verify.
	Optional bool
	// Protocols are offered by ALPN.
	Protocols []string
	// Overlay is on the DownstreamTlsContext.
	Overlay Overlay
}

// A TableID names the route table of a socket, or of one of its chains.
type TableID struct {
	Socket SocketID
	// Host is the chain's host name, or empty for all cleartext of the socket.
	Host string
}

// Name is the name of the table's Envoy route configuration.
func (t TableID) Name() string {
	if t.Host == "" {
		return t.Socket.Name()
	}
	return t.Socket.Name() + "/" + t.Host
}

// A HostID names a virtual host of a table: a value that can be compared, and that
// only the dialect which gave it understands.
type HostID any

// A Host is a virtual host: what happens to requests for one domain.
type Host struct {
	Domain string
	// Routes, first match first.
	Routes []*Route
	// Overlay is on the VirtualHost.
	Overlay Overlay
	Origin  xds.Origin
}

// A Route is a match and what to do. Message is complete but for its name.
type Route struct {
	Name    string
	Rank    Rank
	Message *routev3.Route
	// Clusters the message leads to.
	Clusters []ClusterID
	// Overlay is on the Message.
	Overlay Overlay
	Origin  xds.Origin
}

// A Rank orders routes of one host as Gateway API has it.
type Rank struct {
	// Kind of the path's match: 0 exact, 1 a regular expression, 2 a prefix.
	Path int
	// Length of the path's match; a longer one is first.
	Length int
	// Method, Headers, Cookies and Query count what else is matched; more is first.
	Method, Headers, Cookies, Query int
	// Born is when the object was made, in seconds, Name its namespace and name, Rule
	// and Match where in it the route stands.
	Born        int64
	Name        string
	Rule, Match int
}

// Compare orders ranks: what is matched first comes first.
func (r Rank) Compare(o Rank) int {
	return cmp.Or(
		cmp.Compare(r.Path, o.Path),
		cmp.Compare(o.Length, r.Length),
		cmp.Compare(o.Method, r.Method),
		cmp.Compare(o.Headers, r.Headers),
		cmp.Compare(o.Cookies, r.Cookies),
		cmp.Compare(o.Query, r.Query),
		cmp.Compare(r.Born, o.Born),
		cmp.Compare(r.Name, o.Name),
		cmp.Compare(r.Rule, o.Rule),
		cmp.Compare(r.Match, o.Match),
	)
}

// A Mode is how a cluster is spoken to, where its backend leaves it open.
type Mode string

// The modes of clusters. Which version of HTTP is spoken to a backend is the
// backend's own matter first: its appProtocol says.
const (
	// HTTP is HTTP/1.1 unless the backend says otherwise.
	HTTP Mode = ""
	// GRPC is HTTP/2 unless the backend says otherwise.
	GRPC Mode = "grpc"
	// Bytes are carried as they come; TLS policies of the backend do not count, for
	// the bytes are TLS already.
	Bytes Mode = "bytes"
)

// A ClusterID names a cluster: one for each backend and port, and for each distinct
// way to speak to it.
type ClusterID struct {
	// Backend is a Service, a ServiceImport, a Backend or a Hostname.
	Backend source.Key
	// Port of the backend; 0 if its endpoints have their own.
	Port int32
	// Subset leaves of the backend's endpoints those of Pods with these labels, which are
	// written as label selectors are: a=b,c=d. Empty is all of them.
	Subset string
	// Spread is how requests are spread over places, as build.Spread writes it; empty leaves that to
	// the endpoints.
	Spread string
	Mode   Mode
	// Certificate is the secret with which the backend is told who we are.
	Certificate string
	// Variant is what else is special; nil is nothing.
	Variant Variant
}

// Digest is a short name for what is long: n bytes of its SHA-256.
func Digest[T string | []byte](n int, data T) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:n])
}

// Name is the name of the Envoy cluster.
func (c ClusterID) Name() string {
	parts := []string{c.Backend.Name.String(), strconv.Itoa(int(c.Port))}
	switch c.Backend.Kind {
	case source.Service:
	case source.EnvoyBackend: // Another kind is called Backend, too.
		parts = append([]string{"envoybackend"}, parts...)
	default:
		parts = append([]string{strings.ToLower(c.Backend.Kind.Kind)}, parts...)
	}
	if c.Subset != "" {
		parts = append(parts, "of", c.Subset)
	}
	if c.Spread != "" {
		parts = append(parts, "near", Digest(4, c.Spread))
	}
	if c.Mode != HTTP {
		parts = append(parts, string(c.Mode))
	}
	if c.Certificate != "" {
		parts = append(parts, "as", c.Certificate)
	}
	if c.Variant != nil {
		parts = append(parts, "for", c.Variant.Name())
	}
	return strings.Join(parts, "/")
}

// Compare orders clusters by name.
func (c ClusterID) Compare(o ClusterID) int { return strings.Compare(c.Name(), o.Name()) }

// A Backend is a share of what a rule forwards. One without a cluster is invalid: its
// share is refused.
type Backend struct {
	Cluster ClusterID
	Valid   bool
	Weight  uint32
}

// Total is the sum of the backends' weights.
func Total(backends []Backend) uint32 {
	n := uint32(0)
	for _, b := range backends {
		n += b.Weight
	}
	return n
}

// A Problem is something wrong in an object: where, why and what would be right.
type Problem struct {
	// Path of the field, such as "spec.rules[0].backendRefs[1]".
	Path string
	// Reason is one of the API's words for it, as conditions have them.
	Reason string
	// Message is for people: what is wrong, and what would be right.
	Message string
}

// Problemf returns a Problem with a message of a format.
func Problemf(path, reason, format string, args ...any) Problem {
	return Problem{Path: path, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Unsupported is the reason of problems that nothing fails for: what a field asks for is
// not done, and all else is.
const Unsupported = "UnsupportedField"

// String returns the path and the message.
func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Path, p.Message) }
