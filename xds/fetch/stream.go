// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// Back-off between streams, as Envoy has it.
const (
	backoffBase = 500 * time.Millisecond
	backoffMax  = 30 * time.Second
)

// warmLimit bounds how long routes and listeners wait for clusters to be ready.
const warmLimit = 15 * time.Second

// stream keeps a stream to a server until ctx ends. own is the type whose service is
// used; nil is the aggregated one.
func (s *source) stream(ctx context.Context, api *corev3.ApiConfigSource, own *wire.Type) {
	m := newMux(s, api, own)
	defer m.close()
	base, most := backoffBase, backoffMax
	for tries := uint(0); ; {
		service := 0
		if n := len(api.GetGrpcServices()); n > 0 {
			service = int(tries) % n
		}
		if b := backoffOf(api, service); b != nil {
			base = b.GetBaseInterval().AsDuration()
			if most = b.GetMaxInterval().AsDuration(); most <= 0 {
				most = 10 * base
			}
		}
		heard, err := m.session(ctx, service)
		if ctx.Err() != nil {
			return
		}
		if heard {
			tries = 0
		}
		limit := min(most, base<<min(tries, 16))
		wait := time.Duration(rand.Int64N(int64(limit) + 1))
		tries++
		s.log.Warn("the stream to the management server ended: what it gave stays in use, and it is asked again", "error", err, "again_in", wait.Round(time.Millisecond))
		s.failed()
		if !pause(ctx, wait) {
			return
		}
	}
}

func backoffOf(api *corev3.ApiConfigSource, service int) *corev3.BackoffStrategy {
	if service >= len(api.GetGrpcServices()) {
		return nil
	}
	g := api.GetGrpcServices()[service]
	b := g.GetEnvoyGrpc().GetRetryPolicy().GetRetryBackOff()
	if b.GetBaseInterval().AsDuration() < time.Millisecond {
		return nil
	}
	return b
}

// mux is what a client knows of one server: what it has asked for and what it has. It
// belongs to one goroutine.
type mux struct {
	s     *source
	api   *corev3.ApiConfigSource
	delta bool
	own   *wire.Type
	subs  map[xds.Kind]*sub
	held  []proto.Message // responses that wait for clusters
	limit limiter
	ttl   chan expiry
	nacks chan *sub // refusals that are to be told now

	conn   grpc.ClientStream
	spoken bool // the node has been told on this stream
}

// sub is one kind of resource.
type sub struct {
	t *wire.Type
	// have are the resources that the proxy was given, by version. It outlives streams,
	// as version does, which is that of the last state of the world that was taken.
	have    map[string]string
	version string
	timers  map[string]*time.Timer
	// asked are the names that this stream has been told; nil if nothing was asked.
	asked map[string]bool
	nonce string
	// pending are the resources of a response whose TTLs have not begun.
	pending []wire.Resource
	// wrong is why the last state of the world was refused, bad its version, and again
	// how often it has come since.
	wrong error
	bad   string
	again uint
	later *time.Timer
}

// expiry is a resource whose TTL is over.
type expiry struct {
	kind xds.Kind
	name string
}

func newMux(s *source, api *corev3.ApiConfigSource, own *wire.Type) *mux {
	t := api.GetApiType()
	return &mux{
		s: s, api: api, own: own, subs: map[xds.Kind]*sub{}, ttl: make(chan expiry, 16), nacks: make(chan *sub, 16), limit: newLimiter(api.GetRateLimitSettings()),
		delta: t == corev3.ApiConfigSource_DELTA_GRPC || t == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC || own != nil && own.Stream == "",
	}
}

func (m *mux) close() {
	for _, b := range m.subs {
		for _, t := range b.timers {
			t.Stop()
		}
		if b.later != nil {
			b.later.Stop()
		}
	}
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
	cc, err := m.s.c.connect(m.api, service)
	if err != nil {
		return false, err
	}
	defer cc.Close()
	m.conn, err = cc.NewStream(metadataOf(ctx, m.api, service), &grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}, m.method())
	if err != nil {
		return false, err
	}
	m.spoken, m.held = false, nil
	for _, b := range m.subs {
		b.asked, b.nonce = nil, ""
	}
	target := m.s.c.o.Target
	defer func() { target.Connected(m.s.key, false, "") }()
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
	var warm <-chan struct{}
	var late <-chan time.Time
	for {
		if err := m.ask(ctx); err != nil {
			return heard, m.why(err, ended)
		}
		select {
		case r := <-responses:
			if !heard {
				heard = true
				target.Connected(m.s.key, true, identifier(r))
			}
			if m.waits(r) {
				m.held = append(m.held, r)
				if warm = target.Warm(); warm == nil {
					err = m.takeHeld(ctx)
				} else if late == nil {
					late = time.After(warmLimit)
				}
			} else {
				err = m.take(ctx, r)
			}
		case <-warm:
			if warm = target.Warm(); warm == nil {
				late = nil
				err = m.takeHeld(ctx)
			}
		case <-late:
			warm, late = nil, nil
			err = m.takeHeld(ctx)
		case e := <-m.ttl:
			m.expire(e)
		case b := <-m.nacks:
			if b.asked != nil && b.bad != "" {
				err = m.sendState(ctx, b, b.wrong)
			}
		case <-m.s.wake:
		case err := <-ended:
			return heard, err
		case <-ctx.Done():
			return heard, ctx.Err()
		}
		if err != nil {
			return heard, m.why(err, ended)
		}
	}
}

// why is the error that ended a stream: gRPC tells it to who reads.
func (m *mux) why(err error, ended <-chan error) error {
	if errors.Is(err, io.EOF) {
		return <-ended
	}
	return err
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
	if t == nil {
		return false
	}
	switch t.Kind {
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

func (m *mux) takeHeld(ctx context.Context) error {
	held := m.held
	m.held = nil
	for _, r := range held {
		if err := m.take(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// sub returns the state of a kind, made at its first use.
func (m *mux) sub(t *wire.Type) *sub {
	b := m.subs[t.Kind]
	if b == nil {
		b = &sub{t: t, have: map[string]string{}, timers: map[string]*time.Timer{}}
		m.subs[t.Kind] = b
	}
	return b
}

// ask tells the server of all that is wanted and that it does not know yet.
func (m *mux) ask(ctx context.Context) error {
	for _, kind := range m.s.c.order {
		t := m.s.c.types[kind]
		names := m.s.names(kind)
		b := m.subs[kind]
		if b == nil && len(names) == 0 || m.own != nil && m.own != t {
			continue
		}
		b = m.sub(t)
		if len(names) == 0 && b.asked == nil {
			continue
		}
		var more, less []string
		want := make(map[string]bool, len(names))
		for _, n := range names {
			want[n] = true
			if !b.asked[n] {
				more = append(more, n)
			}
		}
		for n := range b.asked {
			if !want[n] {
				less = append(less, n)
				b.forget(n)
			}
		}
		if b.asked != nil && len(more)+len(less) == 0 {
			continue
		}
		first := b.asked == nil
		b.asked = want
		var err error
		if m.delta {
			err = m.sendDelta(ctx, b, &discoveryv3.DeltaDiscoveryRequest{
				ResourceNamesSubscribe: plain(more, first), ResourceNamesUnsubscribe: less, InitialResourceVersions: b.initial(first),
			})
		} else {
			err = m.sendState(ctx, b, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain leaves the wildcard out of the first request, where no name at all stands for
// it, as every server understands.
func plain(names []string, first bool) []string {
	if first && len(names) == 1 && names[0] == Wildcard {
		return nil
	}
	return names
}

// initial are the versions that a new stream begins with.
func (b *sub) initial(first bool) map[string]string {
	if !first || len(b.have) == 0 {
		return nil
	}
	return b.have
}

// forget drops what is known of a resource that nobody wants any more.
func (b *sub) forget(name string) {
	delete(b.have, name)
	if t := b.timers[name]; t != nil {
		t.Stop()
		delete(b.timers, name)
	}
}

// sendState tells a state-of-the-world server what is wanted; err, if not nil, is what
// is wrong with its last response.
func (m *mux) sendState(ctx context.Context, b *sub, wrong error) error {
	r := &discoveryv3.DiscoveryRequest{TypeUrl: b.t.URL, VersionInfo: b.version, ResponseNonce: b.nonce, ErrorDetail: detail(wrong)}
	for _, n := range m.s.names(b.t.Kind) {
		if b.asked[n] {
			r.ResourceNames = append(r.ResourceNames, n)
		}
	}
	r.ResourceNames = plain(r.ResourceNames, true)
	r.Node = m.node()
	return m.send(ctx, r)
}

func (m *mux) sendDelta(ctx context.Context, b *sub, r *discoveryv3.DeltaDiscoveryRequest) error {
	r.TypeUrl, r.Node = b.t.URL, m.node()
	return m.send(ctx, r)
}

func (m *mux) node() *corev3.Node {
	if m.spoken && (m.api.GetSetNodeOnFirstMessageOnly() || m.delta) {
		return nil
	}
	m.spoken = true
	return m.s.c.o.Node
}

func (m *mux) send(ctx context.Context, r proto.Message) error {
	if wait := m.limit.take(time.Now()); wait > 0 && !pause(ctx, wait) {
		return ctx.Err()
	}
	return m.conn.SendMsg(r)
}

// maxDetail bounds what a server is told of what is wrong, in bytes.
const maxDetail = 8 << 10

func detail(err error) *status.Status {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > maxDetail {
		text = text[:maxDetail] + "..."
	}
	return &status.Status{Code: int32(codes.InvalidArgument), Message: text}
}

// take uses a response and answers it.
func (m *mux) take(ctx context.Context, r proto.Message) error {
	switch r := r.(type) {
	case *discoveryv3.DiscoveryResponse:
		return m.takeState(ctx, r)
	case *discoveryv3.DeltaDiscoveryResponse:
		return m.takeDelta(ctx, r)
	}
	return nil
}

// known returns the state of a response's kind, nil if nothing of the kind was asked for.
func (m *mux) known(url string) *sub {
	t := m.s.c.urls[url]
	if t == nil || m.subs[t.Kind] == nil || m.subs[t.Kind].asked == nil {
		m.s.log.Warn("the management server sends what nobody asked for: it is left out", "type_url", fmt.Sprintf("%.200s", url))
		return nil
	}
	return m.subs[t.Kind]
}

func (m *mux) takeState(ctx context.Context, r *discoveryv3.DiscoveryResponse) error {
	b := m.known(r.GetTypeUrl())
	if b == nil {
		return nil
	}
	b.nonce = r.GetNonce()
	err := m.s.useState(b, r)
	m.arm(b)
	if err == nil {
		b.version, b.bad, b.again = r.GetVersionInfo(), "", 0
		return m.sendState(ctx, b, nil)
	}
	b.wrong = err
	if b.bad != r.GetVersionInfo() || b.bad == "" {
		b.bad, b.again = r.GetVersionInfo(), 0
		m.nack(b, b.bad, err)
		return m.sendState(ctx, b, err)
	}
	m.refuseLater(b)
	return nil
}

// refuseLater tells the server after a pause that what it has sent again is still wrong:
// there are servers that answer each refusal with the same at once.
func (m *mux) refuseLater(b *sub) {
	wait := min(backoffMax, time.Second<<min(b.again, 8))
	b.again++
	ctx := m.s.c.ctx
	b.later = time.AfterFunc(wait, func() {
		select {
		case m.nacks <- b:
		case <-ctx.Done():
		}
	})
}

func (m *mux) nack(b *sub, version string, err error) {
	m.s.log.Error("a response of the management server is refused: what was good stays in use", "kind", b.t.Kind, "version", fmt.Sprintf("%.100s", version), "error", err)
}

func (m *mux) takeDelta(ctx context.Context, r *discoveryv3.DeltaDiscoveryResponse) error {
	b := m.known(r.GetTypeUrl())
	if b == nil {
		return nil
	}
	u := &Update{Source: m.s.key, Kind: b.t.Kind, Version: r.GetSystemVersionInfo(), Gone: r.GetRemovedResources()}
	var errs []error
	for _, raw := range r.GetResources() {
		got, err := b.t.FromResource(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.expireIn(got, m)
		if got.Message != nil {
			u.Put = append(u.Put, got)
		}
	}
	wrong := map[string]bool{}
	refusals := m.s.c.o.Target.Apply(u)
	for _, x := range refusals {
		wrong[x.Name] = true
	}
	for _, got := range u.Put {
		if !wrong[got.Name] {
			b.have[got.Name] = got.Version
		}
	}
	for _, n := range u.Gone {
		b.forget(n)
	}
	err := errors.Join(append(errs, refused(refusals))...)
	if err != nil {
		m.nack(b, u.Version, err)
	}
	return m.sendDelta(ctx, b, &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce(), ErrorDetail: detail(err)})
}

// useState gives the proxy what a state of the world says.
func (s *source) useState(b *sub, r *discoveryv3.DiscoveryResponse) error {
	u := &Update{Source: s.key, Kind: b.t.Kind, Version: r.GetVersionInfo()}
	var errs []error
	seen := map[string]bool{}
	for _, raw := range r.GetResources() {
		got, err := b.t.FromAny(raw, r.GetVersionInfo())
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case seen[got.Name]:
			errs = append(errs, fmt.Errorf("%q is there twice", got.Name))
			continue
		}
		seen[got.Name] = true
		b.pending = append(b.pending, got)
		if got.Message != nil && (b.asked[got.Name] || b.asked[Wildcard]) {
			u.Put = append(u.Put, got)
		}
	}
	// One that cannot be read may be any: none is taken away then.
	if b.t.Whole && len(errs) == 0 {
		for n := range b.have {
			if !seen[n] {
				u.Gone = append(u.Gone, n)
			}
		}
	}
	refusals := s.c.o.Target.Apply(u)
	for _, got := range u.Put {
		b.have[got.Name] = got.Version
	}
	for _, n := range u.Gone {
		b.forget(n)
	}
	return errors.Join(append(errs, refused(refusals))...)
}

// arm sets the time limits of what a state of the world brought.
func (m *mux) arm(b *sub) {
	for _, got := range b.pending {
		b.expireIn(got, m)
	}
	b.pending = nil
}

// expireIn begins the TTL of a resource anew.
func (b *sub) expireIn(r wire.Resource, m *mux) {
	if t := b.timers[r.Name]; t != nil {
		t.Stop()
		delete(b.timers, r.Name)
	}
	if r.TTL <= 0 {
		return
	}
	e := expiry{kind: b.t.Kind, name: r.Name}
	ctx := m.s.c.ctx
	b.timers[r.Name] = time.AfterFunc(r.TTL, func() {
		select {
		case m.ttl <- e:
		case <-ctx.Done():
		}
	})
}

// expire takes a resource away whose TTL is over.
func (m *mux) expire(e expiry) {
	b := m.subs[e.kind]
	if b == nil || b.timers[e.name] == nil {
		return
	}
	m.s.log.Warn("a resource is no more: its TTL is over, and the management server has not told it again", "kind", e.kind, "name", e.name)
	b.forget(e.name)
	m.s.c.o.Target.Apply(&Update{Source: m.s.key, Kind: e.kind, Gone: []string{e.name}})
}
