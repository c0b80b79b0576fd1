// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// warmLimit bounds how long routes and listeners wait for clusters to be ready.
const warmLimit = 15 * time.Second

// sendLimit bounds how long a server may leave unread what it is told.
const sendLimit = 15 * time.Second

// Responses that wait for clusters are bounded, by number and bytes: beyond, nothing
// more is read.
const (
	heldMost  = 1000
	heldBytes = 64 << 20
)

// Responses that are wrong, or that nobody asked for, are read this fast: a server that
// sends them without end costs no more than that.
const (
	wrongMost = 100
	wrongRate = 5
)

// stream keeps a stream to a server until ctx ends. own is the type whose service is
// used; nil is the aggregated one.
func (s *source) stream(ctx context.Context, api *corev3.ApiConfigSource, own *wire.Type) {
	m := newMux(s, api, own)
	defer m.close()
	services := max(1, len(api.GetGrpcServices()))
	for service, tries := 0, uint(0); ; service, tries = (service+1)%services, tries+1 {
		heard, err := m.session(ctx, service)
		if ctx.Err() != nil {
			return
		}
		if heard {
			tries = 0
		}
		wait := backoffOf(api, service).after(tries)
		s.log.Warn("the stream to the management server ended: what it gave stays in use, and it is asked again", "error", err, "again_in", wait.Round(time.Millisecond))
		s.failed()
		if !m.rest(ctx, wait) {
			return
		}
	}
}

// mux is what a client knows of one server: what it has asked for and what it has. It
// belongs to one goroutine.
type mux struct {
	s     *source
	api   *corev3.ApiConfigSource
	delta bool
	own   *wire.Type
	subs  map[xds.Kind]*sub
	limit limiter
	wrong limiter
	ttl   deadlines[resource]
	nacks deadlines[xds.Kind] // refusals that are told later

	held []proto.Message // responses that wait for clusters
	size int             // of held, in bytes

	conn   grpc.ClientStream
	cancel context.CancelFunc // ends the stream
	spoken bool               // the node has been told on this stream
}

// resource names what may end.
type resource struct {
	kind xds.Kind
	name string
}

func newMux(s *source, api *corev3.ApiConfigSource, own *wire.Type) *mux {
	t := api.GetApiType()
	return &mux{
		s: s, api: api, own: own, subs: map[xds.Kind]*sub{}, limit: newLimiter(api.GetRateLimitSettings()),
		wrong: limiter{tokens: wrongMost, most: wrongMost, rate: wrongRate},
		delta: t == corev3.ApiConfigSource_DELTA_GRPC || t == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC || own != nil && own.Stream == "",
	}
}

func (m *mux) close() {
	m.ttl.stop()
	m.nacks.stop()
	for kind, b := range m.subs {
		var names []string
		for n := range b.asked {
			names = append(names, n)
		}
		m.s.c.o.Target.Forget(m.s.key, kind, names)
	}
}

// name tells the stream from others.
func (m *mux) name() Stream {
	if m.own != nil {
		return Stream{m.s.key, m.own.Kind}
	}
	return Stream{Source: m.s.key}
}

func (m *mux) method() string {
	switch {
	case m.own != nil && m.delta:
		return m.own.Delta
	case m.own != nil:
		return m.own.Stream
	case m.delta:
		return wire.AggregatedDelta
	}
	return wire.AggregatedStream
}

// session is one stream, from its beginning to its end. It reports whether the server
// said anything.
func (m *mux) session(ctx context.Context, service int) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.cancel = cancel
	cc, err := m.s.c.connect(m.api, service)
	if err != nil {
		return false, err
	}
	defer cc.Close()
	if err := m.open(ctx, cc, service); err != nil {
		return false, err
	}
	m.spoken, m.held, m.size = false, nil, 0
	m.nacks.stop()
	for _, b := range m.subs {
		b.told, b.nonce = false, ""
	}
	target := m.s.c.o.Target
	defer func() { target.Connected(m.name(), false, "") }()
	responses, ended := make(chan proto.Message), make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		ended <- m.read(ctx, m.conn, responses)
	}()
	defer func() {
		cancel()
		<-reading
	}()
	var wait waiting
	defer wait.stop()
	for {
		if err := m.ask(ctx); err != nil {
			return heard, m.why(err, responses, ended)
		}
		from := responses
		if len(m.held) >= heldMost || m.size >= heldBytes {
			from = nil
		}
		select {
		case r := <-from:
			if !heard {
				heard = true
				target.Connected(m.name(), true, identifier(r))
			}
			err = m.receive(ctx, r, &wait)
		case <-wait.warm:
			err = m.release(ctx, &wait)
		case <-wait.late:
			wait.stop()
			err = m.takeHeld(ctx)
		case <-m.ttl.due():
			m.expire()
		case <-m.nacks.due():
			err = m.refuseAgain(ctx)
		case <-m.s.wake:
		case err := <-ended:
			return heard, err
		case <-ctx.Done():
			return heard, ctx.Err()
		}
		if err != nil {
			return heard, m.why(err, responses, ended)
		}
	}
}

// open opens the stream, and lets what is over its TTL go meanwhile.
func (m *mux) open(ctx context.Context, cc *grpc.ClientConn, service int) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.conn, err = cc.NewStream(metadataOf(ctx, m.api, service), &grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}, m.method())
	}()
	for {
		select {
		case <-done:
			return err
		case <-m.ttl.due():
			m.expire()
		}
	}
}

// rest waits, and lets what is over its TTL go meanwhile. It returns false when ctx ends
// first.
func (m *mux) rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-m.ttl.due():
			m.expire()
		case <-ctx.Done():
			return false
		}
	}
}

// waiting is how held responses wait: for clusters, and not for ever.
type waiting struct {
	warm  <-chan struct{}
	late  <-chan time.Time
	timer *time.Timer
}

func (w *waiting) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
	*w = waiting{}
}

// limit bounds the wait, from when it began.
func (w *waiting) limit() {
	if w.timer == nil {
		w.timer = time.NewTimer(warmLimit)
		w.late = w.timer.C
	}
}

// receive uses a response, or holds it until clusters are ready.
func (m *mux) receive(ctx context.Context, r proto.Message, w *waiting) error {
	if !m.waits(r) {
		return m.take(ctx, r)
	}
	m.hold(r)
	if w.warm != nil {
		return nil
	}
	return m.release(ctx, w)
}

// release takes what is held if clusters are ready.
func (m *mux) release(ctx context.Context, w *waiting) error {
	if w.warm = m.s.c.o.Target.Warm(); w.warm == nil {
		w.stop()
		return m.takeHeld(ctx)
	}
	w.limit()
	return nil
}

// hold keeps a response for later. Of states of the world only the newest counts.
func (m *mux) hold(r proto.Message) {
	m.size += proto.Size(r)
	if !m.delta {
		for i, old := range m.held {
			if m.typeOf(old) == m.typeOf(r) {
				m.size -= proto.Size(old)
				m.held[i] = r
				return
			}
		}
	}
	m.held = append(m.held, r)
}

func (m *mux) takeHeld(ctx context.Context) error {
	held := m.held
	m.held, m.size = nil, 0
	for _, r := range held {
		if err := m.take(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// why is the error that ended a stream: gRPC tells it to who reads.
func (m *mux) why(err error, responses <-chan proto.Message, ended <-chan error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		select {
		case <-responses: // Nobody will take it.
		case err := <-ended:
			return err
		}
	}
}

func (m *mux) read(ctx context.Context, conn grpc.ClientStream, to chan<- proto.Message) error {
	for {
		var r proto.Message = &discoveryv3.DiscoveryResponse{}
		if m.delta {
			r = &discoveryv3.DeltaDiscoveryResponse{}
		}
		if err := conn.RecvMsg(r); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the server has ended the stream")
			}
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send tells the server something, as often as it may be told.
func (m *mux) send(ctx context.Context, r proto.Message) error {
	if wait := m.limit.take(time.Now()); wait > 0 {
		m.s.c.o.Target.Throttled(m.name(), true)
		rested := m.rest(ctx, wait)
		m.s.c.o.Target.Throttled(m.name(), false)
		if !rested {
			return ctx.Err()
		}
	}
	unread := time.AfterFunc(sendLimit, m.cancel)
	err := m.conn.SendMsg(r)
	if !unread.Stop() && err != nil {
		return fmt.Errorf("the server has not read what it was told for %v", sendLimit)
	}
	return err
}

func identifier(m proto.Message) string {
	switch r := m.(type) {
	case *discoveryv3.DiscoveryResponse:
		return r.GetControlPlane().GetIdentifier()
	case *discoveryv3.DeltaDiscoveryResponse:
		return r.GetControlPlane().GetIdentifier()
	}
	return ""
}

// waits reports whether a response must not be used before clusters are ready.
func (m *mux) waits(r proto.Message) bool {
	t := m.typeOf(r)
	return t != nil && needsClusters(t.Kind)
}

// needsClusters reports whether resources of a kind name clusters, or what does.
func needsClusters(kind xds.Kind) bool {
	switch kind {
	case xds.KindListener, xds.KindRoutes, xds.KindScopedRoute, xds.KindVirtualHost:
		return true
	default:
		return false
	}
}

func (m *mux) typeOf(r proto.Message) *wire.Type {
	switch r := r.(type) {
	case *discoveryv3.DiscoveryResponse:
		return m.s.c.urls[r.GetTypeUrl()]
	case *discoveryv3.DeltaDiscoveryResponse:
		return m.s.c.urls[r.GetTypeUrl()]
	}
	return nil
}
