// SPDX-License-Identifier: Apache-2.0

package call

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream"
)

// DefaultLimit bounds a response's body where nothing else is configured, in bytes.
const DefaultLimit = 1 << 20

// A Service is where calls go, and how. It is immutable.
type Service struct {
	// Cluster is the name of the cluster. Authority is what calls name as their host; ""
	// is the cluster's name, in which "-" stands for what no host's name may have.
	Cluster   string
	Authority string
	// Path is that of the service's URI, for those who have one.
	Path string
	// Timeout bounds a call, retries included; 0 is none.
	Timeout time.Duration
	// Limit bounds the body of a response, or the message of a gRPC call, in bytes; 0 is
	// DefaultLimit.
	Limit int
	// Metadata, if not nil, adds to the head of each call.
	Metadata *route.Headers
	// Retry, if not nil, says which calls are made again.
	Retry *Retry
}

// Retry is when a call that failed is made again.
type Retry struct {
	On  route.RetryOn
	Max int // tries after the first
	// The pause before a retry is a random part of Base, twice Base, and so on up to Most.
	Base, Most time.Duration
}

func (s *Service) limit() int {
	if s.Limit > 0 {
		return s.Limit
	}
	return DefaultLimit
}

// A Client makes calls to one service. It may be used from any goroutine.
type Client struct {
	operation string // of spans
	authority string
	service   *Service
	clusters  *upstream.Manager
	free      sync.Pool // of *Call
}

// NewClient returns a client of a service.
func NewClient(s *Service, clusters *upstream.Manager) *Client {
	return &Client{service: s, clusters: clusters, operation: "async " + s.Cluster + " egress", authority: s.authority()}
}

// authority is what calls name as their host.
func (s *Service) authority() string {
	if s.Authority != "" || codec.ValidAuthority([]byte(s.Cluster)) {
		return cmp.Or(s.Authority, s.Cluster)
	}
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, s.Cluster)
}

// Service returns where the calls go.
func (c *Client) Service() *Service { return c.service }

// A Call is one request to a service and its response. It belongs to whoever began it
// until End; on a loop it is used by one task at a time.
type Call struct {
	// Request is the head of the request. Begin has put method, path and host into it.
	Request header.Map
	// Body is that of the request; nil is none. It may be appended to in place: its
	// memory is used again. That of a gRPC call begins with room for a frame's head.
	Body []byte
	// Timeout and Limit are the service's to begin with.
	Timeout time.Duration
	Limit   int
	// Silent tells that an answer of gRPC needs no message, if its status is well.
	Silent bool

	// Status, Response, Trailer and Content are those of the response, valid until End.
	Status   int
	Response header.Map
	Trailer  header.Map
	Content  []byte

	client *Client
	room   []byte // of Body, to be used again
	host   *upstream.Host
	secure upstream.TransportOptions
	timer  engine.Timer
	task   *engine.Task // that the timer interrupts
	expire func()
	pick   upstream.PickContext
	span   trace.Span // of the call, if spanned
	spans  bool
	stream *Stream // that the call is of, nil if it is of one message each way
}

// Begin readies a call of GET, POST and the like. What is appended to Body or added to
// Request is copied, or must stay as it is until End.
func (c *Client) Begin(method string, path []byte) *Call {
	k := c.begin(method)
	k.Request.AddView(header.Path, path)
	k.finish()
	return k
}

func (c *Client) begin(method string) *Call {
	k, _ := c.free.Get().(*Call)
	if k == nil {
		k = new(Call)
		k.expire = k.late
	}
	s := c.service
	k.client, k.Timeout, k.Limit, k.Body, k.Silent = c, s.Timeout, s.limit(), nil, false
	k.Request.Add(header.Method, method)
	return k
}

func (k *Call) finish() {
	k.Request.Add(header.Authority, k.client.authority)
	k.Request.Add(header.Scheme, "http")
	k.Request.Add(header.UserAgent, "weir")
}

// Room returns empty memory for Body, which was used before.
func (k *Call) Room() []byte { return k.room[:0] }

// Tell adds the service's metadata, formatted from what is known of a stream, to the
// head of the request; nil is no stream.
func (k *Call) Tell(info *streaminfo.Stream) {
	if k.client.service.Metadata == nil {
		return
	}
	if info == nil {
		info = new(streaminfo.Stream)
	}
	k.client.service.Metadata.Apply(&k.Request, info)
}

// Trace has the call be part of the trace of a span, which is the stream's, or nil.
func (k *Call) Trace(of *trace.Span) {
	if of == nil {
		return
	}
	k.spans = true
	k.span.Reset()
	k.span.Child(of, k.client.operation)
	k.span.Inject(&k.Request)
}

// maxKept bounds the memory that is kept for the next call, in bytes, for each direction.
const maxKept = 64 << 10

// End gives the call's memory back: nothing of the response is valid any more.
func (k *Call) End() {
	if cap(k.Body) > cap(k.room) {
		k.room = k.Body
	}
	if cap(k.room) > maxKept {
		k.room = nil
	}
	if cap(k.Content) > maxKept {
		k.Content = nil
	}
	k.Request.Reset()
	k.Response.Reset()
	k.Trailer.Reset()
	k.Body, k.Content, k.Status, k.host = nil, k.Content[:0], 0, nil
	k.pick = upstream.PickContext{Attempted: k.pick.Attempted[:0]}
	k.secure = upstream.TransportOptions{VerifyNames: k.secure.VerifyNames[:0]}
	c := k.client
	k.client, k.spans = nil, false
	c.free.Put(k)
}
